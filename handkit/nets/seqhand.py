"""SeqHAND-Net (section 4 and its supplement), a compact variant, and the comparison with a plain LSTM (Table 2)."""

from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from handkit.nets.backbones import BACKBONES, WeightsPath, build_backbone
from handkit.nets.conv_lstm import ConvLSTM, forget_bias
from handkit.nets.sequence import SequenceNetwork, SequenceOutput, State, check_state, frames_of
from handkit.nets.weak_hand import ParameterLayer, parameter_head

# Of a state that is averaged over the map, before training.
_STATE_SIZE: Final = 0.1


class SeqHandNetwork(SequenceNetwork):
    """Backbone, 1x1 convolution to the latent map, ConvLSTM 3x3, its state averaged over the map, 26 numbers.

    The paper gives the widths (1536, 256) and 43.2 M parameters but not how the latent map comes about nor how the
    recurrent layer's map becomes a vector: a linear 1x1 convolution and the mean give that count, 43.18 M.
    With `remembers` False every frame starts from a zero state: the same parameters, and no past.
    """

    memory: ConvLSTM

    def __init__(
        self,
        name: str,
        *,
        backbone: str,
        latent: int,
        hidden: int,
        remembers: bool,
        backbone_weights: WeightsPath | None = None,
    ) -> None:
        super().__init__(name, backbone=backbone, latent=latent, hidden=hidden, remembers=remembers)
        self.sees = "past" if remembers else "frame"
        self.backbone = build_backbone(backbone, backbone_weights)
        self.latent = nn.Conv2d(BACKBONES[backbone].channels, latent, 1)
        self.memory = ConvLSTM(latent, hidden)
        self.head = ParameterLayer(hidden, size=_STATE_SIZE)

    def estimate(self, images: Float[Tensor, "B T 3 H W"], state: State | None) -> SequenceOutput:
        latent = self.latent(self.backbone(frames_of(images)))
        if self.sees == "frame":
            maps, _ = self.memory(latent[:, None])
            return SequenceOutput(self.head(maps.mean((-2, -1))).view(*images.shape[:2], -1), None)
        maps, state = self.memory(latent.unflatten(0, images.shape[:2]), state)
        return SequenceOutput(self.head(maps.mean((-2, -1))), state)


class SeqHandLstm(SequenceNetwork):
    """Backbone, mean over the map, LSTM, head 1024-2048-512-26 (Table 2, Encoder+LSTM).

    The paper gives only 39.3 M parameters: an LSTM of 1024 before the frame network's head gives 39.26 M. The forget
    gate's bias starts at 1, as the ConvLSTM's.
    """

    sees = "past"
    memory: nn.LSTM

    def __init__(self, name: str, *, backbone: str, hidden: int, backbone_weights: WeightsPath | None = None) -> None:
        super().__init__(name, backbone=backbone, hidden=hidden)
        self.backbone = build_backbone(backbone, backbone_weights)
        self.memory = nn.LSTM(BACKBONES[backbone].channels, hidden, batch_first=True)
        self.memory.bias_ih_l0 = nn.Parameter(forget_bias(hidden))
        self.memory.bias_hh_l0 = nn.Parameter(torch.zeros(4 * hidden))
        self.head = parameter_head(hidden, 2048, 512)

    def estimate(self, images: Float[Tensor, "B T 3 H W"], state: State | None) -> SequenceOutput:
        if state is not None:
            check_state(state, (images.shape[0], self.memory.hidden_size))
            state = (state[0][None], state[1][None])
        features = self.backbone(frames_of(images)).mean((-2, -1)).unflatten(0, images.shape[:2])
        with torch.autocast(features.device.type, enabled=False):  # the cell in full precision, as the ConvLSTM's
            hidden, (last, cell) = self.memory(features.to(self.memory.weight_ih_l0.dtype), state)
        return SequenceOutput(self.head(hidden), (last[0], cell[0]))
