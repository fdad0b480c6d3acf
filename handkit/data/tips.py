"""What EgoDexter and Dexter+Object share: five annotated fingertips a frame, of left hands, in a depth camera's frame.

Convention: samples are of the colour camera, in metres and OpenCV axes; of the 21 joints only the tips can be valid.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Bool, Float

from handkit.conventions import FINGERTIPS, NUM_JOINTS
from handkit.data.annotations import AnnotatedDataset, check_choice, check_root, find_file, pixels, read_chw
from handkit.data.hands import HandSet
from handkit.data.sample import HandSample, build_sample
from handkit.errors import HandkitError

logger = logging.getLogger(__name__)

# Codes of a missing tip: both pixel coordinates, the depth, all three coordinates.
MISSING_PIXEL: Final = -1.0
MISSING_DEPTH_MM: Final = 32001.0
MISSING_POINT_MM: Final = 1e-6
_SUFFIXES: Final = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True, eq=False)
class ColorCamera:
    """Intrinsics K, and x_color = R x_depth + t in metres."""

    K: Float[np.ndarray, "3 3"]
    R: Float[np.ndarray, "3 3"]
    t: Float[np.ndarray, " 3"]


@dataclass(frozen=True, eq=False)
class TipSequence:
    """T pictures of one recording and their tips in metres in the colour camera's frame, NaN where missing."""

    name: str
    images: list[Path]
    tips: Float[np.ndarray, "T 5 3"]


def recording_folders(
    root: str | Path, split: str, sequences: Sequence[str], *, title: str, known: Sequence[str], layout: str
) -> list[Path]:
    """The folders of recordings, in `data` below the root where there is one; the one split is "test".

    Raises HandkitError for a root that is not there, another split, and names of no recording.
    """
    folder = check_root(root, layout)
    check_choice(f"split of {title}", split, ("test",))
    places = folder / "data" if (folder / "data").is_dir() else folder
    return [places / check_choice(f"sequence of {title}", name, known) for name in sequences]


class TipsDataset(AnnotatedDataset):
    """Frames with at least `min_tips` annotated tips that `exclude` does not name; `excluded` counts those it did."""

    def __init__(
        self,
        dataset: str,
        sequences: Sequence[TipSequence],
        camera: ColorCamera,
        *,
        layout: str,
        min_tips: int,
        exclude: str | Path | Sequence[str] | None,
    ) -> None:
        self.dataset, self._K, self._layout = dataset, camera.K, layout
        names = [f"{part.name}/{path.stem}" for part in sequences for path in part.images]
        images = [path for part in sequences for path in part.images]
        tips = np.concatenate([np.empty((0, 5, 3)), *(part.tips for part in sequences)])
        enough = np.isfinite(tips).all(-1).sum(-1) >= max(min_tips, 1)
        left_out = _listed(read_exclusions(exclude), names, images)
        self.excluded = int((enough & left_out).sum())
        kept = np.flatnonzero(enough & ~left_out).tolist()
        if not kept:
            what = f"{dataset}: none of {len(names)} frames has {max(min_tips, 1)} annotated tips and is not excluded"
            raise HandkitError(what, "check the annotation files and the list of exclusions")
        self._names, self._images, self._tips = [names[i] for i in kept], [images[i] for i in kept], tips[kept]
        places = [(part.name, frame) for part in sequences for frame in range(len(part.images))]
        self._places = [places[i] for i in kept]

    def __len__(self) -> int:
        return len(self._names)

    def read(self, index: int) -> HandSample:
        sequence, frame = self._places[index]
        joints, valid = spread_tips(self._tips[index])
        return build_sample(
            read_chw(self._images[index], self._layout),
            is_right=False,
            dataset=self.dataset,
            name=self._names[index],
            sequence=sequence,
            frame=frame,
            K=self._K,
            joints_3d=joints,
            joints_3d_valid=valid,
            joints_2d=pixels(np.nan_to_num(joints), self._K),
            joints_2d_valid=valid,
            **self._box(index),
        )

    def truth(self) -> HandSet:
        """21 joints of which only annotated tips are valid, the others NaN."""
        joints, valid = spread_tips(self._tips)
        flat = pixels(np.nan_to_num(joints), self._K)
        return HandSet(
            ids=tuple(self._names),
            joints=joints,
            joints_2d=np.where(valid[..., None], flat, np.nan),
            joints_valid=valid,
            sequences=tuple(sequence for sequence, _ in self._places),
            frames=tuple(frame for _, frame in self._places),
            images=tuple(self._images),
            K=np.repeat(self._K[None], len(self), axis=0),
            source=self.dataset,
        )

    def _box(self, index: int) -> dict[str, np.ndarray]:
        """The hand's box, where the data set has one: tips alone do not bound a hand."""
        return {}


def spread_tips(tips: Float[np.ndarray, "*B 5 3"]) -> tuple[Float[np.ndarray, "*B 21 3"], Bool[np.ndarray, "*B 21"]]:
    """The tips at their places among 21 joints, NaN elsewhere, and which joints are annotated."""
    joints = np.full((*tips.shape[:-2], NUM_JOINTS, 3), np.nan)
    joints[..., FINGERTIPS, :] = tips
    return joints, np.isfinite(joints).all(-1)


def read_tips(path: Path, layout: str, *, dimensions: int) -> Float[np.ndarray, "T 5 D"]:
    """Lines of "x, y, z; x, y, z; ...", thumb to little; an empty number is NaN.

    Raises HandkitError naming the line that is not five points.
    """
    find_file([path], layout)
    lines = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    return np.array([_tips_of(path, number, line, dimensions) for number, line in enumerate(lines, 1)]).reshape(
        -1, 5, dimensions
    )


def _tips_of(path: Path, number: int, line: str, dimensions: int) -> list[list[float]]:
    points = [point.split(",") for point in line.split(";")[:5]]
    if len(points) < 5 or any(len(point) != dimensions for point in points):
        what = f"{path}, line {number}: not five tips of {dimensions} numbers: {line.strip()[:60]!r}"
        raise HandkitError(what, "copy or download it again")
    try:
        return [[float(value) if value.strip() else np.nan for value in point] for point in points]
    except ValueError as error:
        raise HandkitError(f"{path}, line {number}: {error}", "copy or download it again") from error


def missing_tips(
    points_mm: Float[np.ndarray, "T 5 3"], pixels_2d: Float[np.ndarray, "T 5 2"] | None
) -> Bool[np.ndarray, "T 5"]:
    """Tips that are not annotated, by any of the codes that the two data sets use."""
    missing = ~np.isfinite(points_mm).all(-1) | (points_mm[..., 2] == MISSING_DEPTH_MM)
    missing |= (np.abs(points_mm) < MISSING_POINT_MM).all(-1)
    return missing if pixels_2d is None else missing | (pixels_2d == MISSING_PIXEL).all(-1)


def to_color(
    points_mm: Float[np.ndarray, "T 5 3"], missing: Bool[np.ndarray, "T 5"], camera: ColorCamera
) -> Float[np.ndarray, "T 5 3"]:
    """Metres in the colour camera's frame of OpenCV points in the depth camera's; NaN where missing or behind it."""
    placed = (points_mm / 1000) @ camera.R.T + camera.t
    return np.where((missing | ~(placed[..., 2] > 0))[..., None], np.nan, placed)


def list_pictures(folder: Path, count: int, annotations: Path, layout: str) -> list[Path]:
    """The pictures of a folder by name, which must be as many as lines; HandkitError otherwise."""
    if not folder.is_dir():
        raise HandkitError(f"{folder} does not exist", f"the folder should hold {layout}")
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in _SUFFIXES and not p.name.startswith("."))
    if len(found) != count:
        what = f"{annotations} has {count} lines for the {len(found)} pictures of {folder}"
        raise HandkitError(what, "copy or download them again: a line belongs to a picture by its place")
    return found


def read_exclusions(exclude: str | Path | Sequence[str] | None) -> set[str]:
    """Names to leave out: given, or one a line of a text file."""
    if exclude is None:
        return set()
    if not isinstance(exclude, str | Path):
        return set(exclude)
    path = Path(exclude).expanduser()
    if not path.is_file():
        raise HandkitError(f"{path} does not exist", "give a text file with one name a line, such as Desk/<picture>")
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return {line for line in lines if line}


def _listed(excluded: set[str], names: Sequence[str], images: Sequence[Path]) -> Bool[np.ndarray, " N"]:
    """Which frames are named, as a sample or as a picture below the data's folder; warns of names that are none."""
    listed = np.zeros(len(names), bool)
    unused = set(excluded)
    for i, (name, path) in enumerate(zip(names, images, strict=True)):
        known = {name, f"{name}{path.suffix}", "/".join(path.parts[-3:])} & excluded
        listed[i] = bool(known)
        unused -= known
    if unused:
        logger.warning("%d names to exclude are not in the data, such as %s", len(unused), min(unused))
    return listed
