"""The hand's UV map: where on the unit square each corner of each face lies.

Convention: u to the right, v down, both in [0, 1]; texel (column i, row j) of an n x n texture has its centre at
((i + 0.5) / n, (j + 0.5) / n). Charts look as the skin does from outside, on a left hand too, whose map is the right
one's mirror image. `python -m handkit.hand.uv` rebuilds the open hand's stored map.
"""

import argparse
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from handkit.files import atomic_path
from handkit.hand.model import HandModel, load_hand
from handkit.hand.unwrap.cuts import CHARTS, cut_hand
from handkit.hand.unwrap.flatten import Chart, fill_box, flatten
from handkit.hand.unwrap.layout import slice_square

# Between charts at 1024 texels: at least twice this.
GUTTER: Final = 2.5 / 1024
_STORED: Final = Path(__file__).with_name("open_hand_uv.npz")
# How far charts keep their shape instead of filling their box; 1 would keep it most.
_GROWTH: Final = 0.5
_built: dict[str, "HandUV"] = {}


@dataclass(frozen=True, eq=False)
class HandUV:
    """Corners of the faces on the unit square, and the chart of each face, an index into `charts`."""

    face_uvs: np.ndarray  # [1538, 3, 2]
    face_charts: np.ndarray  # [1538] int64
    charts: tuple[str, ...] = CHARTS

    def __post_init__(self) -> None:
        self.face_uvs.setflags(write=False)
        self.face_charts.setflags(write=False)

    @property
    def share(self) -> float:
        """The share of the unit square that faces cover."""
        return float(np.abs(signed_areas(self.face_uvs)).sum())


class SplitMesh(NamedTuple):
    """A mesh whose vertices have one place on the map each: those on seams occur once for every chart."""

    vertex_ids: np.ndarray  # [N] the vertex each one copies
    uvs: np.ndarray  # [N, 2]
    faces: np.ndarray  # [F, 3] into the N vertices


def hand_uv(hand: HandModel) -> HandUV:
    """The UV map of a hand: stored for the open hand, else computed from its rest mesh, joints and weights, and kept.

    Raises HandkitError for a surface that cannot be cut like a hand's.
    """
    key = _digest(hand)
    stored_key, stored = _stored()
    if key == stored_key:
        return stored
    if key not in _built:
        _built[key] = _mirrored(hand_uv(hand.mirrored())) if hand.side == "left" else build_uv(hand)
    return _built[key]


def build_uv(hand: HandModel) -> HandUV:
    """Cut, flatten and lay out a right hand's surface; the same hand gives the same map."""
    face_charts = cut_hand(hand)
    flat: list[tuple[np.ndarray, Chart, np.ndarray]] = []
    for number in range(len(CHARTS)):
        ids, faces = np.unique(hand.faces[face_charts == number], return_inverse=True)
        chart = Chart(hand.v_template[ids], faces.reshape(-1, 3))
        flat.append((face_charts == number, chart, flatten(chart)))
    sizes = np.array([np.ptp(uv, axis=0) for _, _, uv in flat])
    boxes = slice_square(np.array([chart.area for _, chart, _ in flat]), sizes[:, 0] / sizes[:, 1])
    face_uvs = np.zeros((len(hand.faces), 3, 2))
    for (own, chart, uv), (left, top, width, height) in zip(flat, boxes, strict=True):
        inner = (width - 2 * GUTTER, height - 2 * GUTTER)
        placed = fill_box(chart, _facing(chart, uv, inner), inner, growth=_GROWTH, clearance=2 * GUTTER)
        uv_down = np.array([left + GUTTER, top + GUTTER]) + placed * [1, -1] + [0, inner[1]]
        face_uvs[own] = uv_down[chart.faces]
    return HandUV(face_uvs.astype(np.float32).astype(np.float64), face_charts)


def split_vertices(faces: np.ndarray, face_uvs: np.ndarray) -> SplitMesh:
    """Vertices split along the seams of the map, for formats that give each vertex one texture coordinate."""
    corners = np.concatenate([faces.reshape(-1, 1), face_uvs.reshape(-1, 2)], axis=1)
    unique, index = np.unique(corners, axis=0, return_inverse=True)
    return SplitMesh(unique[:, 0].astype(np.int64), unique[:, 1:], index.reshape(-1, 3).astype(np.int64))


def signed_areas(face_uvs: np.ndarray) -> np.ndarray:
    """Areas [F] on the unit square, positive for faces that are counter-clockwise as one looks at the texture."""
    a, b, c = face_uvs.transpose(1, 0, 2)
    return 0.5 * ((c - a)[:, 0] * (b - a)[:, 1] - (c - a)[:, 1] * (b - a)[:, 0])


def _facing(chart: Chart, uv: np.ndarray, box: tuple[float, float]) -> np.ndarray:
    """The chart turned to lie along its box, its far end up or to the right."""
    size = np.ptp(uv, axis=0)
    if (size[0] > size[1]) != (box[0] > box[1]):
        uv = uv @ np.array([[0.0, 1.0], [-1.0, 0.0]])
    upwards = (uv - uv.mean(0)).T @ (chart.vertices.mean(0) - chart.vertices)[:, 0]
    return uv if upwards[int(box[1] > box[0])] > 0 else -uv


def _mirrored(uv: HandUV) -> HandUV:
    return HandUV(uv.face_uvs[:, [0, 2, 1]] * [-1, 1] + [1, 0], uv.face_charts)


def _digest(hand: HandModel) -> str:
    content = hashlib.sha256(hand.side.encode())
    for array in (hand.v_template, hand.faces, hand.lbs_weights, hand.J_regressor):
        content.update(np.ascontiguousarray(array).tobytes())
    return content.hexdigest()


@lru_cache(maxsize=1)
def _stored() -> tuple[str, HandUV]:
    with np.load(_STORED, allow_pickle=False) as arrays:
        uv = HandUV(arrays["face_uvs"].astype(np.float64), arrays["face_charts"].astype(np.int64))
        return str(arrays["hand_sha256"]), uv


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m handkit.hand.uv", description="Builds the open hand's UV map.")
    parser.add_argument("--out", type=Path, default=_STORED, help="the npz to write (default: the shipped one)")
    hand = load_hand("open")
    uv = build_uv(hand)
    with atomic_path(parser.parse_args().out) as partial:
        np.savez_compressed(
            partial,
            face_uvs=uv.face_uvs.astype(np.float32),
            face_charts=uv.face_charts.astype(np.uint8),
            hand_sha256=np.array(_digest(hand)),
        )


if __name__ == "__main__":
    main()
