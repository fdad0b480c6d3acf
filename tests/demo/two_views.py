"""A known hand before two cameras of any rig: what detectors, networks and pair methods would truthfully say of it."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float

from handkit.demo.camera import CameraChoice
from handkit.demo.hands import HandPair, Sighting, rows_from_fit
from handkit.demo.network import NetworkHands
from handkit.demo.options import DemoOptions
from handkit.demo.posed import Posed
from handkit.demo.stereo.binocular import BinocularPairs
from handkit.demo.stereo.method import PairHands, SeenTwice
from handkit.demo.stereo.run import run_stereo
from handkit.demo.stereo.views import View, ViewPair, move_points, pair_views, read_stereo_rig
from handkit.demo.summary import InputRecord
from handkit.demo.tools import Tools
from handkit.detect.detection import HandDetection, box_around
from handkit.errors import HandkitError
from handkit.export.predictions import Predictions
from handkit.fit import HandParameters
from handkit.hand import ManoLayer, load_hand
from handkit.images import RgbImage, write_image
from handkit.refine.seen import move_hands
from handkit.video import Frame, VideoWriter

SIZE = (320, 240)
K = np.array([[300.0, 0, 160], [0, 300, 120], [0, 0, 1]])
LENS = [-0.2, 0.05, 0.001, -0.001, 0.0]


def toed_in(degrees: float, *, roll: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """R, T of a right camera that looks, from aside, at the same place 0.45 m ahead, turned about its axis too."""
    turn = cv2.Rodrigues(np.deg2rad([0.0, degrees, 0.0]))[0]
    R = cv2.Rodrigues(np.deg2rad([0.0, 0.0, roll]))[0] @ turn
    place = np.array([0.0, 0.0, 0.45])
    return R, place - R @ place


BESIDE = (np.eye(3), np.array([-0.08, 0.0, 0.0]))


def write_rig(
    path: Path,
    place: tuple[np.ndarray, np.ndarray] = BESIDE,
    *,
    lens: bool = False,
    unit_m: float | None = 1.0,
    **changes: Any,
) -> Path:
    """A rig of which the left camera is the world; `changes` are of its second view."""
    R, T = place
    views = [
        {"K": K.tolist(), "R": np.eye(3).tolist(), "T": [0, 0, 0]},
        {"K": K.tolist(), "R": R.tolist(), "T": (T / (unit_m or 0.03)).tolist()},
    ]
    if lens:
        views = [view | {"distortion": LENS} for view in views]
    views[1] |= changes
    views[1] = {name: value for name, value in views[1].items() if value is not None}
    path.write_text(json.dumps({"views": views} | ({"unit_m": unit_m} if unit_m else {})))
    return path


@dataclass(frozen=True, eq=False)
class Scene:
    """N hands in the world, in metres, as columns of hands.npz; each at a time of its own."""

    hands: dict[str, np.ndarray]
    is_right: bool = True

    def in_camera(self, R: np.ndarray, t: np.ndarray) -> dict[str, np.ndarray]:
        return move_hands(self.hands, R, t)

    def vertices(self, R: np.ndarray, t: np.ndarray) -> Float[np.ndarray, "N 778 3"]:
        """The meshes in a camera."""
        names = ("global_orient", "hand_pose", "betas", "transl")
        given = {name: torch.tensor(self.hands[name], dtype=torch.float32) for name in names}
        layer = ManoLayer(load_hand("open", "right" if self.is_right else "left"))
        meshes: np.ndarray = layer(**given).vertices.numpy().astype(np.float64)
        return meshes @ R.T + t

    def __len__(self) -> int:
        return len(self.hands["transl"])


def make_scene(count: int, *, is_right: bool = True, seed: int = 0) -> Scene:
    """A hand, fingers up, that drifts and turns a little from time to time."""
    rng = np.random.default_rng(seed)
    up = np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]]) if is_right else np.array([[0.0, 0, -1], [-1, 0, 0], [0, 1, 0]])
    base, pose, shape = cv2.Rodrigues(up)[0][:, 0], rng.normal(0, 0.15, 45), rng.normal(0, 0.5, 10)
    along = np.arange(count)[:, None] / 30
    given = {
        "global_orient": base + along * [0.2, 0.1, -0.1],
        "hand_pose": np.tile(pose, (count, 1)),
        "betas": np.tile(shape, (count, 1)),
        "transl": np.zeros((count, 3)),
    }
    arrays = {name: torch.tensor(value, dtype=torch.float32) for name, value in given.items()}
    joints = ManoLayer(load_hand("open", "right" if is_right else "left"))(**arrays).joints.numpy()
    shift = np.array([0.0, 0.0, 0.45]) + along * [0.1, 0.05, 0.1] - joints.mean(1)
    return Scene(given | {"transl": shift, "joints_3d": joints + shift[:, None]}, is_right)


class TrueHands:
    """A source that sees the scene's joints where the looked-at pictures have them; frames are the scene's rows.

    `missing`: (view, frame) without a hand. `sides`: the side a view takes it for. `rows`: the scene's rows of a view's
    frames. `swapped`: the files are in each other's place, of a pair that needs no rectifying.
    """

    landmarks = "openpose"

    def __init__(
        self,
        scene: Scene,
        views: ViewPair,
        files: tuple[Sequence[str], Sequence[str]],
        *,
        missing: Iterable[tuple[int, int]] = (),
        sides: tuple[bool, bool] | None = None,
        rows: tuple[Sequence[int], Sequence[int]] | None = None,
        swapped: bool = False,
    ) -> None:
        self.scene, self.views, self._files = scene, views, files
        self._missing, self._sides, self._rows = set(missing), sides, rows
        self._number, self._swapped = 0, swapped

    def for_stills(self) -> "TrueHands":
        return self

    @contextmanager
    def for_video(self, path: Path) -> Iterator["TrueHands"]:
        self._number = [path.name in names for names in self._files].index(True)
        yield self

    def find(self, image: RgbImage, frame: int, path: Path | None = None) -> list[HandDetection]:
        number = self._number if path is None else [str(path) in names for names in self._files].index(True)
        if (number, frame) in self._missing:
            return []
        return [self.find_in(number, frame)]

    def find_in(self, number: int, frame: int) -> HandDetection:
        """The hand of a view's frame."""
        points = self.points(1 - number if self._swapped else number, self.row(number, frame))
        side = self.scene.is_right if self._sides is None else self._sides[number]
        score = 0.9 if side == self.scene.is_right else 0.55
        return HandDetection(points, np.ones(21), side, 0.9, box_around(points), side_score=score)

    def row(self, number: int, frame: int) -> int:
        """Of the scene's hands the one in a frame of a view."""
        return frame if self._rows is None else self._rows[number][frame]

    def points(self, number: int, row: int) -> Float[np.ndarray, "21 2"]:
        view = self.views.views[number]
        return self._shown(number, self.scene.in_camera(view.own.R, view.own.T * self.unit)["joints_3d"][row])

    def vertices(self, number: int, row: int) -> Float[np.ndarray, "778 2"]:
        view = self.views.views[number]
        return self._shown(number, self.scene.vertices(view.own.R, view.own.T * self.unit)[row])

    def _shown(self, number: int, points: Float[np.ndarray, "P 3"]) -> Float[np.ndarray, "P 2"]:
        """Looked-at pixels of points in a view's own camera."""
        view = self.views.views[number]
        straight = move_points(points[:, :2].astype(np.float64) / points[:, 2:], view.own.K)
        return move_points(straight, view.K @ view.turn @ np.linalg.inv(view.own.K))

    @property
    def unit(self) -> float:
        return self.views.unit_m or 0.03

    name = "truth"

    def close(self) -> None:
        pass


class TrueNetwork(NetworkHands):
    """Says each view's true hand, but `further` times as far away as it is, on the same ray."""

    words = "truth alone"

    def __init__(self, source: TrueHands, further: float = 1.2) -> None:
        self._source, self._further = source, further

    def over_time(self, tracks: Sequence[Sequence[Sighting]], frames: Iterable[Frame]) -> list[Posed]:
        read = {frame.index: frame.image.shape[:2] for frame in frames}
        for sighting in (sighting for track in tracks for sighting in track):
            assert read[sighting.frame] == sighting.size[::-1], "looked-at pictures are of the sightings' size"
        return [Posed(self._rows(track)) for track in tracks]

    def _rows(self, track: Sequence[Sighting]) -> Predictions:
        views, first = self._source.views.views, track[0]
        rows = [self._source.row(number, first.frame) for number in (0, 1)]
        apart = [np.abs(first.detection.keypoints_2d - self._source.points(n, row)).max() for n, row in enumerate(rows)]
        hands = hands_of(self._source, views[int(np.argmin(apart))], track)
        centre = hands["joints_3d"].mean(1)
        shift = (self._further - 1) * centre
        return rows_of(
            track, hands | {"transl": hands["transl"] + shift, "joints_3d": hands["joints_3d"] + shift[:, None]}
        )

    def _load(self, *_: Any) -> Any:
        raise AssertionError("never asked")

    def _pose(self, *_: Any) -> Posed:
        raise AssertionError("never asked")


class TruePairs:
    """The true hand in the right looked-at camera, by what the pair and the rig say."""

    def __init__(self, source: TrueHands) -> None:
        self._source = source
        self.seen: list[SeenTwice] = []
        self.right_from_left: list[np.ndarray] = []

    def pose(self, pairs: Sequence[SeenTwice], right_from_left: Float[np.ndarray, "3 4"]) -> PairHands:
        self.seen += pairs
        self.right_from_left.append(right_from_left)
        for pair in pairs:
            assert pair.left.detection.is_right == pair.right.detection.is_right
            assert pair.left_picture.shape[:2] == pair.left.size[::-1]
        right = [pair.right for pair in pairs]
        return PairHands(rows_of(right, hands_of(self._source, self._source.views.right, right)))


def hands_of(source: TrueHands, view: View, sightings: Sequence[Sighting]) -> dict[str, np.ndarray]:
    """The scene's hands of sightings in a looked-at camera."""
    number = 0 if view is source.views.left else 1
    rows = [source.row(number, sighting.frame) for sighting in sightings]
    hands = source.scene.in_camera(view.turn @ view.own.R, view.turn @ view.own.T * source.unit)
    return {name: values[rows] for name, values in hands.items()}


def rows_of(sightings: Sequence[Sighting], hands: dict[str, np.ndarray]) -> Predictions:
    arrays = {name: torch.tensor(np.asarray(value), dtype=torch.float32) for name, value in hands.items()}
    joints = arrays.pop("joints_3d")
    return rows_from_fit(sightings, HandParameters(**arrays, joints=joints, vertices=torch.zeros(len(joints), 778, 3)))


@dataclass
class Ran:
    """A run with the truth in place of detector and networks; `method` has what it was asked."""

    records: list[InputRecord]
    figures: dict[str, Any] | None
    method: TruePairs
    errors: list[HandkitError]


def run_views(
    out: Path,
    left: Path,
    right: Path,
    rig: Path,
    scene: Scene,
    *,
    source: dict[str, Any] | None = None,
    pairs: Callable[[TrueHands], BinocularPairs] | None = None,
    **options: Any,
) -> Ran:
    """`run_stereo` over pictures or videos of the scene; `source` are options of `TrueHands`.

    With `pairs` they, and the fit of each view, stand in place of the true methods.
    """
    asked = DemoOptions(**{"method": "handnet", "stereo": (left, right), "rig": rig, "overlay": False, **options})
    read = read_stereo_rig(rig)
    views = pair_views(read, (SIZE, SIZE))
    views = replace(views, unit_m=read.unit_m)
    files = [
        [str(p) for p in sorted(path.iterdir())] if path.is_dir() else [str(path), path.name] for path in (left, right)
    ]
    hands = TrueHands(scene, views, (files[0], files[1]), **(source or {}))
    errors: list[HandkitError] = []
    method = TruePairs(hands)
    tools = Tools(
        options=asked,
        out=out,
        hands=HandPair("open"),
        cameras=CameraChoice(),
        sources=hands,  # type: ignore[arg-type]
        force=False,
        show_progress=False,
        on_error=errors.append,
        debug=True,
        network=TrueNetwork(hands) if pairs is None else None,
        pairs=None if pairs is None else pairs(hands),
    )
    records, figures = run_stereo(tools, method if pairs is None else None)
    return Ran(records, figures, method, errors)


def picture(seed: int, size: tuple[int, int] = SIZE) -> RgbImage:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)


def write_pictures(folder: Path, count: int, prefix: str = "p", size: tuple[int, int] = SIZE) -> Path:
    for i in range(count):
        write_image(folder / f"{prefix}{i}.png", picture(i, size))
    return folder


def write_video(path: Path, count: int, *, fps: float = 30.0, size: tuple[int, int] = SIZE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(path, fps=fps) as writer:
        for i in range(count):
            writer.write(picture(i, size), i / fps)
    return path
