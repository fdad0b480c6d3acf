"""Tiny videos and pictures with a red square as the hand, and keypoints of it as OpenPose would write them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from handkit.gather.options import GatherOptions, Source
from handkit.gather.run import Gathered, gather
from handkit.images import RgbImage, write_image
from handkit.video import VideoWriter

HAND_PX = 24  # the longer side of the keypoints' box
_SHAPE = np.random.default_rng(0).uniform(-0.5, 0.5, (21, 2))
_SHAPE[:2] = (-0.5, -0.5), (0.5, 0.5)


def points(middle: tuple[float, float], size: float = HAND_PX) -> np.ndarray:
    """[21, 2] pixels whose box is `size` wide and high about `middle`."""
    return size * _SHAPE + middle


def picture(middle: tuple[float, float] | None, size: tuple[int, int] = (96, 64)) -> RgbImage:
    """RGB of `size` (width, height): grey, red about the hand's middle."""
    image = np.full((size[1], size[0], 3), 90, np.uint8)
    if middle is not None:
        rows, columns = np.mgrid[: size[1], : size[0]] + 0.5
        half = size[1] // 10
        image[(abs(columns - middle[0]) <= half) & (abs(rows - middle[1]) <= half)] = (230, 30, 30)
    return image


def write_video(
    path: Path, middles: Sequence[tuple[float, float] | None], size: tuple[int, int] = (96, 64), fps: float = 30
) -> Path:
    """A frame for each middle."""
    path.parent.mkdir(exist_ok=True, parents=True)
    with VideoWriter(path, fps=fps, crf=5) as writer:
        for middle in middles:
            writer.write(picture(middle, size))
    return path


def write_openpose(path: Path, hands: Sequence[np.ndarray], *, sides: Sequence[str] | None = None) -> Path:
    """One frame's file: a person for each hand."""
    path.parent.mkdir(exist_ok=True, parents=True)
    people = []
    for hand, side in zip(hands, sides or ["right"] * len(hands), strict=True):
        numbers = np.column_stack([hand, np.full(21, 0.9)]).ravel().tolist()
        people.append({f"hand_{side}_keypoints_2d": numbers})
    path.write_text(json.dumps({"people": people}))
    return path


def write_keypoints(folder: Path, stem: str, frames: Mapping[int, Sequence[np.ndarray]], **known: Any) -> Path:
    """A video's files, `<stem>_000000000012_keypoints.json`."""
    folder.mkdir(exist_ok=True, parents=True)
    for frame, hands in frames.items():
        write_openpose(folder / f"{stem}_{frame:012d}_keypoints.json", hands, **known)
    return folder


def write_clip(
    folder: Path, name: str, middles: Sequence[tuple[float, float] | None], **video: Any
) -> tuple[Path, Path]:
    """A video, and keypoints of its hand in `folder`/keypoints."""
    path = write_video(folder / "videos" / f"{name}.mp4", middles, **video)
    frames = {n: [] if middle is None else [points(middle)] for n, middle in enumerate(middles)}
    return path, write_keypoints(folder / "keypoints", name, frames)


def write_stills(folder: Path, names: Sequence[str], middle: tuple[float, float] = (50, 30)) -> Path:
    """Pictures of one hand each."""
    folder.mkdir(exist_ok=True, parents=True)
    for name in names:
        write_image(folder / name, picture(middle))
    return folder


def gathered(out: Path, *sources: Source, **options: Any) -> tuple[Gathered, list[str]]:
    """What `gather` gives, and what it reported."""
    errors: list[str] = []
    result = gather(sources, out, GatherOptions(**options), on_error=lambda error: errors.append(error.what))
    return result, errors
