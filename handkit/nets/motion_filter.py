"""The MFNet encoder of SeqHAND's Table 2: fixed motion filters between the stages of ResNet-50 (Lee et al. 2018)."""

from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from handkit.nets.backbones import WeightsPath, build_backbone
from handkit.nets.sequence import SequenceNetwork, SequenceOutput, State, frames_of
from handkit.nets.weak_hand import parameter_head

# (down, right) in cells of the map.
SHIFTS: Final = ((0, 0), (0, -1), (0, 1), (-1, 0), (1, 0))
_REDUCTION: Final = 16
_STAGES: Final = {"layer1": 256, "layer2": 512, "layer3": 1024, "layer4": 2048}


class MotionFilterNetwork(SequenceNetwork):
    """ResNet-50 with a motion block after each stage, mean over the map, head 2048-2048-512-26; frames see the clip.

    Each block looks one frame ahead. The paper gives only 41.7 M parameters: blocks of five shifts on a sixteenth of
    the channels, concatenated with the appearance and reduced, give 42.00 M. Made for clips of 10 frames; any number
    is taken.
    """

    sees = "clip"

    def __init__(self, name: str, *, backbone_weights: WeightsPath | None = None) -> None:
        super().__init__(name)
        self.backbone = build_backbone("resnet50", backbone_weights)
        self.motion = nn.ModuleDict({stage: MotionBlock(channels) for stage, channels in _STAGES.items()})
        self.head = parameter_head(2048, 2048, 512)

    def estimate(self, images: Float[Tensor, "B T 3 H W"], state: State | None) -> SequenceOutput:
        maps = frames_of(images)
        for name, stage in self.backbone.named_children():
            maps = stage(maps)
            if name in self.motion:
                maps = self.motion[name](maps, images.shape[1])
        return SequenceOutput(self.head(maps.mean((-2, -1))).unflatten(0, images.shape[:2]), None)


class MotionBlock(nn.Module):
    """Appearance and motion of a stage's map, reduced to as many channels as it had.

    Starts with the appearance nearly unchanged, so that a trained backbone's later stages see what they know.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        fewer = channels // _REDUCTION
        self.squeeze = nn.Conv2d(channels, fewer, 1, bias=False)
        self.expand = nn.Conv2d(len(SHIFTS) * fewer, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.merge = nn.Conv2d(2 * channels, channels, 1, bias=False)
        with torch.no_grad():
            nn.init.normal_(self.merge.weight, std=0.1 * channels**-0.5)
            self.merge.weight[:, :channels, 0, 0] = torch.eye(channels)
        self.to(memory_format=torch.channels_last)

    def forward(self, maps: Float[Tensor, "N C H W"], frames: int) -> Float[Tensor, "N C H W"]:
        """Maps of N = B * `frames` frames, those of a clip one after the other."""
        motion = motion_differences(self.squeeze(maps).unflatten(0, (-1, frames))).flatten(0, 1)
        motion = self.norm(self.expand(motion)).relu()
        return self.merge(torch.cat([maps, motion], 1)).relu()


def motion_differences(maps: Float[Tensor, "B T C H W"]) -> Float[Tensor, "B T D H W"]:
    """The next frame's map, shifted each way of `SHIFTS` (zeros enter), less this frame's; D = 5 C.

    After the last frame it comes once more.
    """
    height, width = maps.shape[-2:]
    following = nn.functional.pad(torch.cat([maps[:, 1:], maps[:, -1:]], 1), (1, 1, 1, 1))
    moved = [following[..., 1 - down : 1 - down + height, 1 - right : 1 - right + width] for down, right in SHIFTS]
    return torch.cat([shifted - maps for shifted in moved], 2)
