"""The frame networks of SeqHAND's Table 2: the encoder of Boukhayma et al. 2019 without 2D input."""

from jaxtyping import Float
from torch import Tensor

from handkit.nets.backbones import BACKBONES, WeightsPath, build_backbone
from handkit.nets.sequence import SequenceNetwork, SequenceOutput, State, frames_of
from handkit.nets.weak_hand import parameter_head


class FrameNetwork(SequenceNetwork):
    """Backbone, mean over the map, head 2048-2048-512-26; every frame for itself.

    The paper gives only the counts, 28.8 M with ResNet-50 and 47.8 M with ResNet-101: two hidden layers of 2048 and 512
    give 28.77 M and 47.76 M.
    """

    def __init__(self, name: str, *, backbone: str, backbone_weights: WeightsPath | None = None) -> None:
        super().__init__(name, backbone=backbone)
        self.backbone = build_backbone(backbone, backbone_weights)
        self.head = parameter_head(BACKBONES[backbone].channels, 2048, 512)

    def estimate(self, images: Float[Tensor, "B T 3 H W"], state: State | None) -> SequenceOutput:
        features = self.backbone(frames_of(images)).mean((-2, -1))
        return SequenceOutput(self.head(features).unflatten(0, images.shape[:2]), None)
