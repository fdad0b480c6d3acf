"""YouTube-3D-Hands (Kulon et al. 2020): meshes over frames of 116 videos, which everyone downloads for themselves.

Convention: the files have 778 vertices in pixels of the image, z in the same unit; left hands are not mirrored. Joints
are regressed from the vertices, the tips are vertices 744, 320, 443, 554, 671. Metres are those of the hand model that
has the same bone lengths on average: the data set's scale is unknown.
"""

import logging
from collections import Counter
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float

from handkit.conventions import (
    BONES,
    FINGERTIP_VERTICES,
    FINGERTIPS,
    NUM_JOINTS,
    NUM_VERTICES,
    OURS_FROM_MANO_AND_TIPS,
)
from handkit.data.annotations import (
    AnnotatedDataset,
    box_around,
    check_choice,
    check_root,
    read_chw,
)
from handkit.data.flat_json import field, read_flat_objects
from handkit.data.hands import HandSet
from handkit.data.sample import HandSample, build_sample
from handkit.errors import HandkitError
from handkit.hand.layer import ManoLayer
from handkit.hand.model import HandModel, find_hand_file, load_hand

logger = logging.getLogger(__name__)

SPLITS: Final = ("train", "val", "test")
LAYOUT: Final = "YouTube-3D-Hands: youtube_{train,val,test}.json and data/youtube/<video>/video/frames/<number>.png"
MISSING: Final = ("skip", "keep")


class YouTube3D(AnnotatedDataset):
    """YouTube-3D-Hands' annotations whose frames are on the disk, named "<video>_<frame>_<annotation>".

    `missing` counts by video the annotations whose frames are not there; "skip" leaves them out, "keep" keeps their
    truth (reading such a sample fails). `hand` regresses the joints: without a MANO file ("mano") only tips are given.
    Raises HandkitError for a file that is missing, cut off or damaged, and where not one frame is there.
    """

    def __init__(
        self, root: str | Path, split: str = "test", *, missing: str = "skip", hand: str | Path = "mano"
    ) -> None:
        self.root = check_root(root, LAYOUT)
        self.split = check_choice("split of YouTube-3D-Hands", split, SPLITS)
        check_choice("way with missing frames", missing, MISSING)
        self._path = self.root / f"youtube_{split}.json"
        self._numbers: list[int] = []
        self._is_left: np.ndarray = np.empty(0, bool)
        self._pixels: np.ndarray = np.empty((0, NUM_VERTICES, 3), np.float32)
        paths = self._load()
        there = {path: path.is_file() for path in set(paths)}
        self.missing = Counter(_video_and_frame(path)[0] for path in paths if not there[path])
        self._report(len(paths))
        kept = [i for i, path in enumerate(paths) if there[path] or missing == "keep"]
        self._paths = [paths[i] for i in kept]
        self._numbers = [self._numbers[i] for i in kept]
        self._is_left, self._pixels = self._is_left[kept], self._pixels[kept]
        self._hands = _load_hands(hand)

    def __len__(self) -> int:
        return len(self._numbers)

    def read(self, index: int) -> HandSample:
        sequence, frame = _video_and_frame(self._paths[index])
        flat = self._pixels[index].astype(np.float64)
        joints, valid = self._joints(flat[None], bool(self._is_left[index]))
        known: dict[str, Any] = {"joints_2d": joints[0, :, :2], "joints_2d_valid": valid}
        if self._hands:
            scale = self._scale(joints, bool(self._is_left[index]))[0]
            wrist = joints[0, 0]
            known |= {"joints_3d": (joints[0] - wrist) / scale, "vertices": (flat - wrist) / scale}
            known |= {"weak_scale": scale, "weak_transl": wrist[:2]}
        return build_sample(
            read_chw(self._paths[index], LAYOUT),
            is_right=not self._is_left[index],
            dataset="youtube3d",
            name=self._name(index),
            sequence=sequence,
            frame=frame,
            vertices_2d=flat[:, :2],
            **known,
            **box_around(flat[:, :2]),
        )

    def truth(self) -> HandSet:
        """Joints and vertices about the wrist in the hand model's metres; in 2D alone, at the tips, without a model."""
        joints = np.full((len(self), NUM_JOINTS, 3), np.nan)
        valid = np.zeros((len(self), NUM_JOINTS), bool)
        scale = np.full(len(self), np.nan)
        for is_left in (False, True):
            rows = np.flatnonzero(self._is_left == is_left)
            joints[rows], valid[rows] = self._joints(self._pixels[rows].astype(np.float64), is_left)
            if self._hands:
                scale[rows] = self._scale(joints[rows], is_left)
        wrist = joints[:, :1]
        places = [_video_and_frame(path) for path in self._paths]
        metric = (joints - wrist) / scale[:, None, None]
        return HandSet(
            ids=tuple(self._name(i) for i in range(len(self))),
            joints=metric if self._hands else None,
            vertices=(self._pixels - wrist) / scale[:, None, None] if self._hands else None,
            joints_2d=joints[..., :2],
            joints_valid=valid,
            sequences=tuple(f"{video}/{side}" for (video, _), side in zip(places, self._sides(), strict=True)),
            frames=tuple(frame for _, frame in places),
            images=tuple(self._paths),
            source=f"youtube3d {self.split}",
        )

    def _sides(self) -> list[str]:
        return ["left" if is_left else "right" for is_left in self._is_left]

    def _name(self, index: int) -> str:
        video, frame = _video_and_frame(self._paths[index])
        return f"{video}_{frame:06d}_{self._numbers[index]}"

    def _load(self) -> list[Path]:
        """Every annotation's picture; the annotations are kept as arrays."""
        images: dict[int, str] = {}
        shown_in, sides, meshes = [], [], []
        for entry in read_flat_objects(self._path, LAYOUT):
            if "vertices" in entry:
                vertices = np.asarray(entry["vertices"], np.float32)
                if vertices.shape != (NUM_VERTICES, 3):
                    what = f"{self._path}: annotation {entry.get('id')} has vertices of shape {vertices.shape}"
                    raise HandkitError(what, "copy or download it again")
                meshes.append(vertices)
                sides.append(bool(field(entry, "is_left", self._path)))
                shown_in.append(int(field(entry, "image_id", self._path)))
                self._numbers.append(int(field(entry, "id", self._path)))
            elif "name" in entry and "id" in entry:
                images[int(entry["id"])] = str(entry["name"])
        if not meshes:
            raise HandkitError(f"{self._path} holds no annotations", "copy or download it again")
        self._is_left, self._pixels = np.array(sides), np.stack(meshes)
        lost = set(shown_in) - set(images)
        if lost:
            raise HandkitError(f"{self._path} lacks image {min(lost)} of its annotations", "copy or download it again")
        return [self._frame(images[number], number) for number in shown_in]

    def _frame(self, name: str, number: int) -> Path:
        """The picture; a name that leads out of the folder is refused."""
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise HandkitError(f"{self._path}: image {number} is called {name!r}", "do not trust this file")
        return next(
            (p for p in (self.root / "data" / name, self.root / name) if p.is_file()), self.root / "data" / name
        )

    def _report(self, total: int) -> None:
        """Say what is missing; raise where nothing is there."""
        lost = self.missing.total()
        if lost:
            most = ", ".join(f"{video} ({count})" for video, count in self.missing.most_common(3))
            what = f"{self._path}: the frames of {lost} of {total} annotations are not there, of videos such as {most}"
            if lost == total:
                raise HandkitError(what, f"download the videos and cut them into frames; the layout is {LAYOUT}")
            logger.warning("%s", what)

    def _joints(self, flat: Float[np.ndarray, "N 778 3"], is_left: bool) -> tuple[np.ndarray, np.ndarray]:
        """Our joints [N, 21, 3] in the vertices' unit, NaN where not known, and which are known [21]."""
        tips = flat[:, FINGERTIP_VERTICES["youtube3d"]]
        if not self._hands:
            joints = np.full((len(flat), NUM_JOINTS, 3), np.nan)
            joints[:, FINGERTIPS] = tips
            return joints, np.isin(np.arange(NUM_JOINTS), FINGERTIPS)
        regressed = np.einsum("jv,nvc->njc", self._hands[is_left].J_regressor, flat)
        joints = np.concatenate([regressed, tips], 1)[:, OURS_FROM_MANO_AND_TIPS]
        return joints, np.ones(NUM_JOINTS, bool)

    def _scale(self, joints: Float[np.ndarray, "N 21 3"], is_left: bool) -> Float[np.ndarray, " N"]:
        """Pixels per metre of the hand model."""
        rest = ManoLayer(self._hands[is_left])().joints.numpy().astype(np.float64)
        return np.asarray(_bone_sum(joints) / _bone_sum(rest.reshape(-1, NUM_JOINTS, 3)))


def _bone_sum(joints: Float[np.ndarray, "N 21 3"]) -> Float[np.ndarray, " N"]:
    """The 15 bones between skinned joints; tips are vertices, whose place depends on the model."""
    pairs = [(parent, child) for parent, child in BONES if child not in FINGERTIPS]
    parents, children = np.array(pairs).T
    return np.linalg.norm(joints[:, parents] - joints[:, children], axis=-1).sum(-1)


def _load_hands(hand: str | Path) -> dict[bool, HandModel]:
    """The models by "is left"; none without a MANO file."""
    if hand == "mano" and find_hand_file("right") is None:
        logger.warning("YouTube-3D-Hands: no MANO file is found, so only fingertips are known, in pixels")
        return {}
    right = load_hand(hand, "right")
    return {False: right, True: right.mirrored()}


def _video_and_frame(path: Path) -> tuple[str, int]:
    """Of youtube/<video>/video/frames/<number>.png."""
    video = path.parts[-4] if len(path.parts) >= 4 else path.parent.name
    return video, int(path.stem) if path.stem.isdecimal() else 0
