"""What every network over a sequence of frames is: images in, 26 numbers a frame and what it remembers out."""

from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

Sees = Literal["frame", "past", "clip"]
State = tuple[Tensor, ...]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class SequenceOutput(NamedTuple):
    """Parameters (`handkit.nets.read_parameters`) of every frame; the state from which the sequence goes on."""

    parameters: Float[Tensor, "B T 26"]
    state: State | None


class SequenceNetwork(nn.Module):
    """Frames to hand parameters.

    `sees` says what a frame's result rests on: the frame alone, it and the past, or the whole clip that is given.
    `memory` is the recurrent layer, None where there is none. States are tensors with the batch first.
    """

    sees: Sees = "frame"
    memory: nn.Module | None
    mean: Tensor
    std: Tensor

    def __init__(self, name: str, **arguments: Any) -> None:
        super().__init__()
        self.name, self._arguments, self.memory = name, arguments, None
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None], persistent=False)

    def describe(self) -> dict[str, Any]:
        """The arguments of `build_network` that rebuild it, its name among them."""
        return {"name": self.name, **self._arguments}

    def forward(self, images: Float[Tensor, "B T 3 H W"], state: State | None = None) -> SequenceOutput:
        """RGB in [0, 1], of any height and width; `state` is that of the frames before, None at a sequence's start.

        Networks without memory take and give None.
        """
        if images.ndim != 5 or images.shape[2] != 3 or images.shape[1] == 0 or not images.is_floating_point():
            raise ValueError(f"images must be float [B,T,3,H,W] in [0, 1], not {images.dtype} {list(images.shape)}")
        if state is not None and self.sees != "past":
            raise ValueError(f"{self.name} remembers nothing: its state is None")
        return self.estimate((images - self.mean) / self.std, state)

    def estimate(self, images: Float[Tensor, "B T 3 H W"], state: State | None) -> SequenceOutput:
        """The same for normalised images; what each network defines."""
        raise NotImplementedError


def check_state(state: State, shape: tuple[int, ...]) -> None:
    """Raise ValueError where a state is not of this shape, [B, ...]."""
    found = [tuple(part.shape) for part in state]
    if found != [shape, shape]:
        raise ValueError(f"the state is of other frames: {found}, not twice {shape}; start with None")


def frames_of(images: Float[Tensor, "B T 3 H W"]) -> Float[Tensor, "N 3 H W"]:
    """All frames as one batch, channels last in memory, which convolutions are faster on."""
    return images.flatten(0, 1).contiguous(memory_format=torch.channels_last)
