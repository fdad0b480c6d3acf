"""The I3D encoder of SeqHAND's Table 2: ResNet-50 with some of its kernels inflated over time (Carreira 2017)."""

from collections.abc import Mapping
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from handkit.nets.backbones import WeightsPath, build_backbone
from handkit.nets.sequence import SequenceNetwork, SequenceOutput, State
from handkit.nets.weak_hand import parameter_head

# Frames that kernels span, by parameter name; all others span one.
SPANS: Final[Mapping[str, int]] = {
    "conv1": 5,
    "layer1.0.conv1": 3,
    "layer1.1.conv1": 3,
    "layer1.2.conv1": 3,
    "layer2.0.conv1": 3,
    "layer2.2.conv1": 3,
    "layer3.0.conv1": 3,
    "layer3.2.conv1": 3,
    "layer3.4.conv1": 3,
    "layer4.1.conv1": 3,
}


class InflatedNetwork(SequenceNetwork):
    """ResNet-50 over space and time, mean over each frame's map, head 2048-2048-26; a frame sees the clip.

    The paper says that the Inception modules of I3D became ResNet-50, and 31.5 M: the kernels of `SPANS`, every other
    block as in later inflated ResNets, give 31.47 M. Nothing strides over time, so every frame has its output. Made for
    clips of 10 frames; any number of frames is taken.
    """

    sees = "clip"

    def __init__(self, name: str, *, backbone_weights: WeightsPath | None = None) -> None:
        super().__init__(name)
        self.backbone = inflate(build_backbone("resnet50", backbone_weights), SPANS)
        self.head = parameter_head(2048, 2048)

    def estimate(self, images: Float[Tensor, "B T 3 H W"], state: State | None) -> SequenceOutput:
        maps = self.backbone(images.transpose(1, 2).contiguous(memory_format=torch.channels_last_3d))
        return SequenceOutput(self.head(maps.mean((-2, -1)).transpose(1, 2)), None)


class InflatedConv(nn.Conv3d):
    """A ResNet's convolution, repeated over `span` frames and divided by it, so a still clip gives what it gave.

    For that the first and the last frame go on beyond the clip's ends, instead of zeros.
    """

    def __init__(self, flat: nn.Conv2d, span: int) -> None:
        height, width = flat.kernel_size
        super().__init__(
            flat.in_channels,
            flat.out_channels,
            (span, height, width),
            stride=(1, flat.stride[0], flat.stride[1]),
            padding=(0, height // 2, width // 2),
            bias=False,
        )
        with torch.no_grad():
            self.weight.copy_(flat.weight[:, :, None].expand_as(self.weight) / span)

    def forward(self, clip: Float[Tensor, "B C T H W"]) -> Float[Tensor, "B D T H2 W2"]:
        beyond = self.kernel_size[0] // 2
        if beyond:
            clip = torch.cat([*[clip[:, :, :1]] * beyond, clip, *[clip[:, :, -1:]] * beyond], 2)
        return super().forward(clip)


def inflate(module: nn.Sequential, spans: Mapping[str, int]) -> nn.Sequential:
    """A ResNet for clips [B,C,T,H,W], changed in place: kernels named in `spans` see so many frames."""
    for name, child in list(module.named_modules()):
        flat = _over_time(child, spans.get(name, 1))
        if flat is not None:
            parent, _, last = name.rpartition(".")
            setattr(module.get_submodule(parent), last, flat)
    return module


def _over_time(flat: nn.Module, span: int) -> nn.Module | None:
    if isinstance(flat, nn.Conv2d):
        return InflatedConv(flat, span)
    if isinstance(flat, nn.BatchNorm2d):
        norm = nn.BatchNorm3d(flat.num_features, eps=flat.eps, momentum=flat.momentum)
        norm.load_state_dict(flat.state_dict())
        return norm
    if isinstance(flat, nn.MaxPool2d):
        return nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))  # ResNet's only one
    return None
