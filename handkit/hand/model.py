"""A parametric hand as plain arrays: the open hand that ships with handkit, or a MANO file of the user's.

Convention: metres; MANO's own 16 joints (wrist, then index, middle, little, ring, thumb, three each). At rest a right
hand points its fingers to -x and its thumb to +z, palm to -y; a left hand is its mirror image, x -> -x, for which an
axis-angle vector (x, y, z) becomes (x, -y, -z).
"""

import logging
import os
import re
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np

from handkit.conventions import FINGERTIP_VERTICES
from handkit.errors import HandkitError
from handkit.hand.files import read_hand_file

Side = Literal["right", "left"]

logger = logging.getLogger("handkit")

_MIRROR = np.array([-1.0, 1.0, 1.0])
_MIRROR_AXIS_ANGLE = np.array([1.0, -1.0, -1.0])
_OPEN_HAND = Path(__file__).with_name("open_hand.npz")
_GET_MANO = (
    "put MANO_RIGHT.pkl and MANO_LEFT.pkl (from https://mano.is.tue.mpg.de) into ./weights or point HANDKIT_MANO "
    'at their folder; the hand "open" needs no file'
)


@dataclass(frozen=True, eq=False)
class HandModel:
    """The arrays of one hand, float64 and read-only.

    `name` is what `load_hand` was given; `parents[0]` is -1; `tip_vertices` go thumb to little; `vertex_colors` are
    RGB in [0, 1], or None where the file has none.
    """

    name: str
    side: Side
    v_template: np.ndarray  # [778, 3]
    shapedirs: np.ndarray  # [778, 3, 10]
    posedirs: np.ndarray  # [778, 3, 135], by the row-major entries of R - I of the 15 finger joints
    J_regressor: np.ndarray  # [16, 778]
    lbs_weights: np.ndarray  # [778, 16]
    parents: np.ndarray  # [16] int64
    faces: np.ndarray  # [1538, 3] int64, outward
    hands_mean: np.ndarray  # [45]
    hands_components: np.ndarray  # [45, 45], one component a row
    tip_vertices: tuple[int, int, int, int, int] = FINGERTIP_VERTICES["smplx"]
    vertex_colors: np.ndarray | None = None  # [778, 3]

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                value.setflags(write=False)

    def mirrored(self) -> "HandModel":
        """The hand of the other side: mirrored pose vectors, or the same PCA coefficients, give mirrored meshes."""
        return replace(
            self,
            side="left" if self.side == "right" else "right",
            v_template=self.v_template * _MIRROR,
            shapedirs=self.shapedirs * _MIRROR[:, None],
            # R of a mirrored joint is M R M, so entry (a, b) of its pose feature changes sign by m_a m_b.
            posedirs=self.posedirs * _MIRROR[:, None] * np.tile(np.outer(_MIRROR, _MIRROR).ravel(), 15),
            faces=self.faces[:, [0, 2, 1]],
            hands_mean=self.hands_mean * np.tile(_MIRROR_AXIS_ANGLE, 15),
            hands_components=self.hands_components * np.tile(_MIRROR_AXIS_ANGLE, 15),
        )


def load_hand(
    name_or_path: str | Path = "open", side: Side | None = None, *, fix_left_shapedirs: bool = True
) -> HandModel:
    """Load a hand: "open" (ships with handkit), "mano" (searched, see `find_hand_file`), a file, or a folder of files.

    Without `side` it is the side in the file's name, else right. A file of the other side is mirrored, with a warning.
    The released left MANO file's shape directions have the wrong sign in x: corrected unless `fix_left_shapedirs` is
    False (smplx issue 48). Raises HandkitError for a missing or bad file.
    """
    if side not in (None, "right", "left"):
        raise HandkitError(f"no such side: {side!r}", 'use "right" or "left"')
    if str(name_or_path) == "open":
        return _open_hand(side or "right")
    path = _mano_file(name_or_path, side or "right")
    file_side = side_in_name(path) or side or "right"
    hand = HandModel(name=str(name_or_path), side=file_side, **read_hand_file(path))
    if file_side == "left" and fix_left_shapedirs:
        logger.info("%s: the sign of the shape directions' x component is corrected", path)
        hand = replace(hand, shapedirs=hand.shapedirs * _MIRROR[:, None])
    if _looks_like(hand) not in (None, file_side):
        said = (
            "%s is taken as a %s hand but its fingers point the other way; a side in its name (left, right) goes first"
        )
        logger.warning(said, path, file_side)
    if side not in (None, file_side):
        logger.warning("%s is a %s hand: using its mirror image as the %s hand", path, file_side, side)
        return hand.mirrored()
    return hand


def find_hand_file(side: Side = "right") -> Path | None:
    """The MANO_RIGHT or MANO_LEFT file (.pkl, .npz) that is found first, or None.

    Looked for in the package's weights, HANDKIT_MANO, HANDKIT_WEIGHTS (a folder or the file itself) and ./weights.
    """
    package = Path(__file__).resolve().parents[1]
    places = [package / "weights"]
    if (package.parent / "pyproject.toml").is_file():
        places.append(package.parent / "weights")
    places += [Path(os.environ[key]).expanduser() for key in ("HANDKIT_MANO", "HANDKIT_WEIGHTS") if os.environ.get(key)]
    for place in [*places, Path("weights")]:
        if place.is_file() and side_in_name(place) in (None, side):
            return place
        if (found := _file_in(place, side)) is not None:
            return found
    return None


def side_in_name(path: Path) -> Side | None:
    """The side a file's name tells, or None."""
    sides = set(re.findall("right|left", path.stem.lower()))
    if sides == {"right"}:
        return "right"
    return "left" if sides == {"left"} else None


def _file_in(folder: Path, side: Side) -> Path | None:
    names = [f"MANO_{side.upper()}{suffix}" for suffix in (".pkl", ".npz")]
    candidates = [folder / inner / name for inner in ("", "mano", "models", "mano/models") for name in names]
    return next((path for path in candidates if path.is_file()), None)


def _mano_file(name_or_path: str | Path, side: Side) -> Path:
    """The file to read for `side`, of the other side where there is no better."""
    other: Side = "left" if side == "right" else "right"
    if str(name_or_path) == "mano" and not Path("mano").exists():
        found = find_hand_file(side) or find_hand_file(other)
        if found is None:
            raise HandkitError("no MANO file was found", _GET_MANO)
        return found
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        found = _file_in(path, side) or _file_in(path, other)
        if found is None:
            raise HandkitError(f"no MANO_RIGHT or MANO_LEFT file (.pkl, .npz) in {path}", _GET_MANO)
        return found
    if not path.exists():
        raise HandkitError(
            f"no hand model {str(name_or_path)!r}", f'use "open", "mano" or a file that exists; {_GET_MANO}'
        )
    return path


@lru_cache(maxsize=2)
def _open_hand(side: Side) -> HandModel:
    arrays = read_hand_file(_OPEN_HAND)
    for key in ("lbs_weights", "J_regressor"):  # the file is rounded, sums of one are not to be
        arrays[key] = arrays[key] / arrays[key].sum(axis=1, keepdims=True)
    hand = HandModel(name="open", side="right", **arrays)
    return hand if side == "right" else hand.mirrored()


def _looks_like(hand: HandModel) -> Side | None:
    """The side whose rest frame the fingers point along, or None where they are not along x."""
    joints = hand.J_regressor @ hand.v_template
    towards = joints[[1, 4, 7, 10]].mean(axis=0) - joints[0]
    if abs(towards[0]) < 0.7 * np.linalg.norm(towards):
        return None
    return "right" if towards[0] < 0 else "left"
