"""RHD_published_v2, the Rendered Hand Pose data set (Zimmermann and Brox 2017): 41,258 and 2,728 pictures, 320 x 320.

Convention: metres, OpenCV axes. A picture's 42 points are the left hand's 21, then the right's, each finger from tip to
base; samples have one hand each, in our order.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from handkit.conventions import reorder_joints
from handkit.data.annotations import (
    AnnotatedDataset,
    box_around,
    check_choice,
    check_root,
    numbers,
    read_chw,
    read_grey,
    read_pickle,
    read_rgb,
    wide,
)
from handkit.data.hands import HandSet
from handkit.data.sample import HandSample, build_sample
from handkit.errors import HandkitError

SPLITS: Final = ("training", "evaluation")
SIDES: Final = ("left", "right")
# Which hands of a picture are samples.
HANDS: Final = ("all", "dominant", *SIDES)
LAYOUT: Final = (
    "RHD_published_v2: {training,evaluation}/{color,depth,mask}/00000.png, training/anno_training.pickle, "
    "evaluation/anno_evaluation.pickle"
)
DEPTH_M: Final = 5 / (2**16 - 1)  # metres of one step
# Mask values: 0 background, 1 person, then 16 parts of the left and 16 of the right hand.
_PARTS: Final = {"left": (2, 17), "right": (18, 33)}


class Rhd(AnnotatedDataset):
    """RHD's hands, of each picture the left before the right.

    `hands` is "all" that have at least `min_visible` visible points, only the "left" or "right" of those, or the
    "dominant" one of each picture: that with more pixels in the mask, as hand3d scores them (reads every mask once).
    A sample's 2D joints are valid where they are visible, its 3D joints wherever they are in front of the camera.
    Raises HandkitError for files that are missing or damaged.
    """

    def __init__(
        self, root: str | Path, split: str = "evaluation", *, hands: str = "all", min_visible: int = 1
    ) -> None:
        self.root = check_root(root, LAYOUT)
        self.split = check_choice("split of RHD", split, SPLITS)
        check_choice("choice of hands", hands, HANDS)
        self._path = self.root / split / f"anno_{split}.pickle"
        self._load()
        visible = (self._uv_vis[..., 2] > 0).sum(-1)
        if hands == "dominant":
            self._index = [(row, self._dominant(row)) for row in range(len(self._numbers))]
        else:
            sides = SIDES if hands == "all" else (hands,)
            chosen = [SIDES.index(side) for side in sides]
            self._index = [
                (row, side) for row in range(len(self._numbers)) for side in chosen if visible[row, side] >= min_visible
            ]

    def __len__(self) -> int:
        return len(self._index)

    def read(self, index: int) -> HandSample:
        row, side = self._index[index]
        name = f"{self._numbers[row]:05d}"
        joints, uv_vis = self._xyz[row, side], self._uv_vis[row, side]
        visible = uv_vis[:, 2] > 0
        low, high = _PARTS[SIDES[side]]
        mask = read_grey(self.root / self.split / "mask" / f"{name}.png", LAYOUT)
        return build_sample(
            read_chw(self._image(row), LAYOUT),
            is_right=SIDES[side] == "right",
            dataset="rhd",
            name=f"{name}_{SIDES[side]}",
            K=self._K[row],
            mask=(mask >= low) & (mask <= high),
            joints_3d=joints,
            joints_3d_valid=joints[:, 2] > 0,
            joints_2d=uv_vis[:, :2],
            joints_2d_valid=visible,
            **box_around(uv_vis[visible, :2]),
        )

    def truth(self) -> HandSet:
        """All joints, hidden ones too."""
        rows, sides = np.array(self._index, np.int64).reshape(-1, 2).T
        joints = self._xyz[rows, sides]
        return HandSet(
            ids=tuple(f"{self._numbers[row]:05d}_{SIDES[side]}" for row, side in self._index),
            joints=joints.astype(np.float64),
            joints_2d=self._uv_vis[rows, sides, :, :2].astype(np.float64),
            joints_valid=joints[..., 2] > 0,
            images=tuple(self._image(row) for row, _ in self._index),
            K=self._K[rows].astype(np.float64),
            source=f"rhd {self.split}",
        )

    def depth(self, index: int) -> NDArray[np.float32]:
        """Metres [320, 320] of a sample's picture."""
        name = f"{self._numbers[self._index[index][0]]:05d}.png"
        return decode_depth(read_rgb(self.root / self.split / "depth" / name, LAYOUT))

    def _image(self, row: int) -> Path:
        return self.root / self.split / "color" / f"{self._numbers[row]:05d}.png"

    def _load(self) -> None:
        """Annotations as arrays by picture and side (left, right), joints in our order."""
        held = read_pickle(self._path, LAYOUT)
        entries = sorted(
            (key, value) for key, value in held.items() if isinstance(key, int) and isinstance(value, dict)
        )
        if not entries or len(entries) != len(held):
            raise HandkitError(f"{self._path} holds no pictures by number", "copy or download it again")
        self._numbers = [key for key, _ in entries]
        xyz = np.stack([self._array(entry, "xyz", (2, 21, 3), key) for key, entry in entries])
        uv_vis = np.stack([self._array(entry, "uv_vis", (2, 21, 3), key) for key, entry in entries])
        self._xyz, self._uv_vis = reorder_joints(xyz, "rhd"), reorder_joints(uv_vis, "rhd")
        self._K = np.stack([self._array(entry, "K", (3, 3), key) for key, entry in entries])

    def _array(self, entry: dict[Any, Any], name: str, shape: tuple[int, ...], number: int) -> NDArray[np.float32]:
        array = numbers(entry, name, shape, self._path)
        if array is None:
            raise HandkitError(f"{self._path}: picture {number} has no {name}", "copy or download it again")
        return array.astype(np.float32)

    def _dominant(self, row: int) -> int:
        mask = read_grey(self.root / self.split / "mask" / f"{self._numbers[row]:05d}.png", LAYOUT)
        left, right = (np.count_nonzero((mask >= low) & (mask <= high)) for low, high in _PARTS.values())
        return 0 if left > right else 1


def decode_depth(stored: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Metres [H, W] of a depth image read as RGB [H, W, 3]: (256 red + green) in steps of 5 m / 65535."""
    return (wide(stored[..., 1], stored[..., 0]) * DEPTH_M).astype(np.float32)
