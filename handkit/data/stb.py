"""STB, the Stereo Hand Pose Benchmark (Zhang et al. 2017): one left hand before six backgrounds, 640 x 480.

Convention: the files have millimetres and a palm centre in place of the wrist; samples have metres and, by
`root_joint`, a wrist extrapolated from the palm or the palm centre itself as joint 0. BB is the stereo camera, whose
labels are in its left view's frame; SK a depth camera with labels in the depth frame, here turned into the colour's.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import scipy.io
import torch
from numpy.typing import NDArray

from handkit.conventions import reorder_joints
from handkit.data.annotations import (
    AnnotatedDataset,
    box_around,
    check_choice,
    check_root,
    find_file,
    pixels,
    read_chw,
    read_rgb,
    wide,
)
from handkit.data.hands import HandSet
from handkit.data.sample import HandSample, PairView, StereoSample, build_sample
from handkit.errors import HandkitError

LAYOUT: Final = (
    "STB: labels/B1Counting_BB.mat, labels/B1Counting_SK.mat, ... and images/B1Counting/BB_left_0.png, "
    "BB_right_0.png, SK_color_0.png, SK_depth_0.png, ... (the level images/ may be missing)"
)
SPLITS: Final[dict[str, tuple[str, ...]]] = {
    "train": tuple(f"B{number}{kind}" for number in range(2, 7) for kind in ("Counting", "Random")),
    "test": ("B1Counting", "B1Random"),
}
# Images' names by camera and view.
VIEWS: Final = {"BB": {"left": "BB_left", "right": "BB_right"}, "SK": {"color": "SK_color"}}
_PAIRED: Final[dict[str, PairView]] = {"left": "left", "right": "right"}
K_BB: Final = np.array([[822.79041, 0, 318.47345], [0, 822.79041, 250.31296], [0, 0, 1]])
K_SK: Final = np.array([[607.92271, 0, 314.78337], [0, 607.88192, 236.42484], [0, 0, 1]])
K_SK_DEPTH: Final = np.array([[475.62768, 0, 336.41179], [0, 474.77709, 238.77962], [0, 0, 1]])
BASELINE_M: Final = 0.120054
# x_depth = R x_color + t of the SK camera.
DEPTH_FROM_COLOR_ROTATION: Final = np.array([0.00531, -0.01196, 0.00301])
DEPTH_FROM_COLOR_M: Final = np.array([-0.0240381, -0.0004563, -0.0012326])
# Joint 0 as mean over MCP joints m of m + factor (palm - m); none for the palm centre itself.
ROOTS: Final[dict[str, tuple[tuple[int, ...], float]]] = {
    "wrist-from-ring": ((13,), 2.0),  # hand3d; Ge et al.
    "wrist-from-middle": ((9,), 2.2),
    "wrist-from-four": ((5, 9, 13, 17), 2.25),
    "palm": ((), 0.0),
}


class Stb(AnnotatedDataset):
    """STB's frames, sequence by sequence: B1 for "test", B2 to B6 for "train", or the `sequences` given.

    `camera` is "BB" with `views` of "left" and "right" (each frame once for every view), or "SK". `root_joint`
    says what joint 0 is, see `ROOTS`. All hands are left ones, left as they are.
    Raises HandkitError for files that are missing or damaged.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "test",
        *,
        camera: str = "BB",
        views: Sequence[str] | None = None,
        root_joint: str = "wrist-from-ring",
        sequences: Sequence[str] | None = None,
    ) -> None:
        self.root = check_root(root, LAYOUT)
        self.camera = check_choice("camera of STB", camera, VIEWS)
        names = list(VIEWS[camera])
        self.views = [check_choice(f"view of {camera}", view, names) for view in views or names[:1]]
        self.root_joint = check_choice("root joint of STB", root_joint, ROOTS)
        if sequences is None:
            sequences = SPLITS[check_choice("split of STB", split, SPLITS)]
        self._labels = {sequence: self._joints(sequence) for sequence in sequences}
        self._index = [
            (sequence, frame, view)
            for sequence, joints in self._labels.items()
            for view in self.views
            for frame in range(len(joints))
        ]
        lengths = [len(joints) for joints in self._labels.values()]
        self._before = dict(zip(self._labels, itertools.accumulate(lengths, initial=0), strict=False))
        self.split = split

    def __len__(self) -> int:
        return len(self._index)

    def scene(self, index: int) -> int:
        sequence, frame, _ = self._index[index]
        return self._before[sequence] + frame

    def read(self, index: int) -> HandSample:
        return self._sample(*self._index[index])

    def view_of(self, index: int) -> PairView | None:
        """None of the SK camera's pictures."""
        return _PAIRED.get(self._index[index][2])

    def pair(self, index: int) -> StereoSample:
        """Both views of a frame of the BB camera; HandkitError for the other camera."""
        if self.camera != "BB":
            raise HandkitError(f"the camera {self.camera} of STB has one view", 'use camera="BB"')
        sequence, frame, _ = self._index[index]
        right_from_left = np.eye(3, 4, dtype=np.float32)
        right_from_left[0, 3] = -BASELINE_M
        left, right = (self._sample(sequence, frame, view) for view in ("left", "right"))
        return {"left": left, "right": right, "right_from_left": right_from_left}

    def truth(self) -> HandSet:
        """All joints in each sample's own camera frame."""
        joints = np.concatenate([_in_view(held, view) for held in self._labels.values() for view in self.views])
        K = np.broadcast_to(self._K, (len(self), 3, 3))
        return HandSet(
            ids=tuple(f"{self._stream(sequence, view)}_{frame}" for sequence, frame, view in self._index),
            joints=joints,
            joints_2d=pixels(joints, K),
            joints_valid=np.ones(joints.shape[:2], bool),
            sequences=tuple(self._stream(sequence, view) for sequence, _, view in self._index),
            frames=tuple(frame for _, frame, _ in self._index),
            images=tuple(self._image(*place) for place in self._index),
            K=K,
            source=f"stb {self.split} ({self.camera}, {self.root_joint})",
        )

    def depth(self, index: int) -> NDArray[np.float32]:
        """Metres [480, 640] that the SK camera measured in a frame, in its depth camera (`K_SK_DEPTH`)."""
        sequence, frame, _ = self._index[index]
        return decode_depth(read_rgb(self._folder(sequence) / f"SK_depth_{frame}.png", LAYOUT))

    @property
    def _K(self) -> NDArray[np.float64]:
        return K_BB if self.camera == "BB" else K_SK

    def _stream(self, sequence: str, view: str) -> str:
        return f"{sequence}/{VIEWS[self.camera][view]}"

    def _folder(self, sequence: str) -> Path:
        nested = self.root / "images" / sequence
        return nested if nested.is_dir() else self.root / sequence

    def _image(self, sequence: str, frame: int, view: str) -> Path:
        return self._folder(sequence) / f"{VIEWS[self.camera][view]}_{frame}.png"

    def _joints(self, sequence: str) -> NDArray[np.float64]:
        """Labels [N, 21, 3] of a sequence in our order and metres, in the (left) colour camera's frame."""
        path = find_file([self.root / "labels" / f"{sequence}_{self.camera}.mat"], LAYOUT)
        try:
            held = np.asarray(scipy.io.loadmat(path)["handPara"], np.float64)
            if held.ndim != 3 or held.shape[:2] != (3, 21):
                raise ValueError(f"handPara has shape {held.shape}, not (3, 21, N)")
        except Exception as error:  # scipy's reader fails in many ways on damaged files
            raise HandkitError(f"{path} is damaged: {error}", "copy or download it again") from error
        joints = reorder_joints(held.transpose(2, 1, 0), "stb") / 1000
        if self.camera == "SK":
            # x_color = R^T (x_depth - t), points being rows
            joints = (joints - DEPTH_FROM_COLOR_M) @ cv2.Rodrigues(DEPTH_FROM_COLOR_ROTATION)[0]
        return with_root(joints, self.root_joint)

    def _sample(self, sequence: str, frame: int, view: str) -> HandSample:
        joints = _in_view(self._labels[sequence][frame], view)
        joints_2d = pixels(joints, self._K)
        stream = self._stream(sequence, view)
        return build_sample(
            read_chw(self._image(sequence, frame, view), LAYOUT),
            is_right=False,
            dataset="stb",
            name=f"{stream}_{frame}",
            sequence=stream,
            frame=frame,
            K=self._K,
            joints_3d=joints,
            joints_2d=joints_2d,
            **box_around(joints_2d),
        )


class StbPairs(torch.utils.data.Dataset[StereoSample]):
    """Both views of each of STB's frames, the options as `Stb`'s."""

    def __init__(self, root: str | Path, split: str = "train", **options: Any) -> None:
        self._frames = Stb(root, split, **options)

    @property
    def root_joint(self) -> str:
        """What joint 0 is."""
        return self._frames.root_joint

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> StereoSample:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._frames.pair(index)


def decode_depth(stored: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Metres [H, W] of a depth image read as RGB [H, W, 3]: red + 256 green millimetres."""
    return (wide(stored[..., 0], stored[..., 1]) / 1000).astype(np.float32)


def with_root(joints: NDArray[np.float64], root: str) -> NDArray[np.float64]:
    """Joints [*B, 21, 3] whose joint 0 is STB's palm centre, with what `root` names in its place."""
    bases, factor = ROOTS[root]
    if not bases:
        return joints
    chosen, palm = joints[..., list(bases), :], joints[..., :1, :]
    wrist = (chosen + factor * (palm - chosen)).mean(-2, keepdims=True)
    return np.concatenate([wrist, joints[..., 1:, :]], -2)


def _in_view(joints: NDArray[np.float64], view: str) -> NDArray[np.float64]:
    return joints - np.array([BASELINE_M, 0, 0]) if view == "right" else joints
