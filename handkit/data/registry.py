"""Data sets by name."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from handkit.data.annotations import AnnotatedDataset, check_choice
from handkit.data.bighand import BigHand
from handkit.data.dexter_object import DexterObject
from handkit.data.egodexter import EgoDexter
from handkit.data.freihand import FreiHand
from handkit.data.generated import SeqHandFrames, StereoView
from handkit.data.ho3d import Ho3d
from handkit.data.images import Images
from handkit.data.interhand import InterHand
from handkit.data.rhd import Rhd
from handkit.data.stb import Stb
from handkit.data.youtube3d import YouTube3D

Builder = Callable[..., AnnotatedDataset]

# Each is called with (root, split, **options); its docstring says which there are.
DATASETS: Final[dict[str, Builder]] = {
    "freihand": FreiHand,
    "ho3d": Ho3d,
    "stb": Stb,
    "rhd": Rhd,
    "egodexter": EgoDexter,
    "dexter-object": DexterObject,
    "bighand": BigHand,
    "youtube3d": YouTube3D,
    "interhand": InterHand,
    "images": Images,
    "seqhand": SeqHandFrames,
    "stereo": StereoView,
}

# The split that is learned from, and the options that go with it; data sets that are only scored on are not here.
TRAINING: Final[dict[str, tuple[str, dict[str, str]]]] = {
    "freihand": ("training", {}),
    "ho3d": ("train", {}),
    "stb": ("train", {"root_joint": "palm"}),
    "rhd": ("training", {}),
    "interhand": ("train", {}),
    "youtube3d": ("train", {}),
    "images": ("all", {}),
    "seqhand": ("train", {}),
    "stereo": ("train", {}),
}


def build_training_dataset(name: str, root: str | Path, split: str | None = None, **options: Any) -> AnnotatedDataset:
    """The data set `name` to learn from: `build_dataset` with the split and options of `TRAINING` where none is given.

    Raises HandkitError for a data set without a part to learn from.
    """
    check_choice("data set", name, DATASETS)
    chosen, usual = TRAINING[check_choice("data set to learn from", name, TRAINING)]
    return build_dataset(name, root, split or chosen, **{**usual, **options})


def build_dataset(name: str, root: str | Path, split: str | None = None, **options: Any) -> AnnotatedDataset:
    """The data set `name` under `root`; without `split`, the one it is scored on.

    Raises HandkitError for a name, split or option that there is none of, and for files that are missing or damaged.
    """
    builder = DATASETS[check_choice("data set", name, DATASETS)]
    known = [key for key in inspect.signature(builder).parameters if key not in ("root", "split")]
    for option in options:
        check_choice(f"option of {name}", option, known)
    return builder(root, **options) if split is None else builder(root, split, **options)
