"""What an `evaluate` run was asked for; light enough to import before anything is read."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

UNITS_M: Final = {"m": 1.0, "cm": 0.01, "mm": 0.001}
AXES: Final = ("opencv", "opengl")
SUBMISSIONS: Final = ("freihand", "ho3d")
# The methods of a protocol that compares masks; the last is a network's.
SEGMENTERS: Final = ("hsv", "grabcut", "handnet")


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How arrays of files that do not say so themselves are to be read; one value each for prediction and truth.

    None leaves it to the protocol (JSON) or to handkit's own conventions (npy, npz). `hands.npz` and data sets are
    always in ours.
    """

    unit: str = "m"
    joint_order: str | None = None
    axes: str | None = None


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Options of one run; `alignments`, `thresholds` (start, stop in mm; steps), `root_joint` replace the protocol's.

    `exclude` names samples or the files that list them, `require` bounds by key, `fps` gives accelerations in seconds
    too. `data` is the root of `dataset` where the truth is not its own; `methods` are run over it, those of networks
    once for each of `checkpoints` under its name, on `device`.
    """

    protocol: str
    pred: ReadOptions = field(default_factory=ReadOptions)
    truth: ReadOptions = field(default_factory=ReadOptions)
    alignments: tuple[str, ...] | None = None
    thresholds: tuple[float, float, int] | None = None
    root_joint: str | None = None
    exclude: tuple[str, ...] = ()
    fps: float | None = None
    submission: str | None = None
    require: tuple[tuple[str, float], ...] = ()
    latex: bool = False
    dataset: str | None = None
    split: str | None = None
    data: Path | None = None
    data_options: tuple[tuple[str, str], ...] = ()
    methods: tuple[str, ...] = ()
    checkpoints: tuple[tuple[str, Path], ...] = ()
    device: str = "auto"
    hand_model: str = "open"
    images: Path | None = None
