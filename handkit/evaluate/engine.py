"""What `predict` asks of a method: which samples go together, and their rows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import numpy as np

from handkit.data.sample import HandSample
from handkit.demo.hands import Sighting, join_rows
from handkit.evaluate.rows import OwnRows, join_own
from handkit.geometry.cameras import default_K

DONE: Final = "done"
NO_HAND: Final = "no hand"


class Engine(Protocol):
    """A method over one data set; networks and hand models are loaded when the first piece is made.

    words: the method, as hands.npz says it, once a piece was made. key: what besides data set, method and hand model
    changes its rows.
    """

    words: str
    key: Sequence[Any]

    def pieces(self) -> list[range]:
        """The samples in order, cut into what is made and kept together."""

    def predict(self, chosen: range, on_read: Callable[[], None]) -> OwnRows:
        """Rows of a piece, the same whatever was made before; `on_read` is called after every sample."""

    def close(self) -> None:
        """Let go of networks."""


@dataclass(frozen=True, eq=False)
class Read:
    """A sample without its picture: what was found in it, or why not; `camera` is in the words of hands.npz."""

    name: str
    status: str
    sighting: Sighting | None = None
    camera: str = ""


def pieced(parts: Sequence[OwnRows], read: Sequence[Read], *, hand: str, words: str) -> OwnRows:
    """The rows of a piece in the order of its samples, and what was read for them."""
    rows = join_own(parts) if parts else OwnRows(join_rows([]))
    rows = rows.rows(np.argsort(rows.hands.frame, kind="stable"))
    said = replace(
        rows.hands,
        inputs=[one.name for one in read],
        status=[one.status for one in read],
        hand_model=hand,
        method=words,
        camera_source="; ".join(dict.fromkeys(one.camera for one in read if one.camera)),
    )
    return replace(rows, hands=said)


def camera_of(sample: HandSample) -> tuple[np.ndarray, str]:
    """K [3, 3] of a sample and where it comes from."""
    if sample["K_valid"]:
        return sample["K"].astype(np.float64), "data set"
    height, width = sample["image"].shape[1:]
    return default_K(width, height).numpy(), "default field of view"
