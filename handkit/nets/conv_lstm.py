"""The convolutional LSTM of Shi et al. 2015, without peepholes."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from handkit.nets.sequence import State, check_state


class ConvLSTM(nn.Module):
    """One convolution of [x, h] gives the input, forget and output gates and the candidate (Shi et al. 2015, Eq. 3).

    The paper's peephole terms (W_c * c) are left out, as in most of its successors: they fix the map's size. The forget
    gate's bias starts at 1, so that memory lasts from the start.
    """

    def __init__(self, channels: int, hidden: int, *, kernel: int = 3) -> None:
        super().__init__()
        self.channels, self.hidden = channels, hidden
        self.gates = nn.Conv2d(channels + hidden, 4 * hidden, kernel, padding=kernel // 2)
        self.gates.bias = nn.Parameter(forget_bias(hidden))
        self.to(memory_format=torch.channels_last)

    def forward(
        self, maps: Float[Tensor, "B T C H W"], state: State | None = None
    ) -> tuple[Float[Tensor, "B T D H W"], State]:
        """The hidden map h after every frame, and the last (h, c), each [B,D,H,W]; zeros where no state is given.

        Raises ValueError for a state of another batch or map size.
        """
        shape = (maps.shape[0], self.hidden, *maps.shape[-2:])
        if state is not None:
            check_state(state, shape)
        hidden, cell = state or (None, self.gates.weight.new_zeros(shape))
        # The convolution is linear: what it makes of x is had for all frames at once.
        weight = self.gates.weight.to(memory_format=torch.channels_last)
        from_maps, from_hidden = weight.split([self.channels, self.hidden], 1)
        seen = self._convolve(maps.flatten(0, 1), from_maps, self.gates.bias).unflatten(0, maps.shape[:2])
        from_hidden = from_hidden.contiguous(memory_format=torch.channels_last)
        states = []
        for gates in seen.unbind(1):
            if hidden is not None:
                gates = gates + self._convolve(hidden, from_hidden)
            # In the weights' precision: under autocast the cell would lose small changes.
            enter, keep, leave, candidate = gates.to(cell.dtype).chunk(4, 1)
            cell = keep.sigmoid() * cell + enter.sigmoid() * candidate.tanh()
            hidden = leave.sigmoid() * cell.tanh()
            states.append(hidden)
        return torch.stack(states, 1), (states[-1], cell)

    def _convolve(self, maps: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return nn.functional.conv2d(maps, weight, bias, padding=self.gates.padding)


def forget_bias(hidden: int) -> Float[Tensor, " D"]:
    """Biases of the four gates at the start, D = 4 * `hidden`: 1 for the forget gate, which is the second, else 0."""
    return torch.tensor([0.0, 1.0, 0.0, 0.0]).repeat_interleave(hidden)
