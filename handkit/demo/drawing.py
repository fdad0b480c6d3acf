"""Overlay pictures: meshes, skeletons, track and side over the input, and the hands from the side beside it.

Hands whose appearance is known are drawn in their own colours and light, and alone on black beside the input.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from jaxtyping import Float

from handkit.ahead import ahead
from handkit.demo.hands import HandPair
from handkit.demo.posed import Posed
from handkit.demo.textures import lit_meshes
from handkit.export.appearance import Appearance
from handkit.export.predictions import Predictions
from handkit.images import RgbImage
from handkit.render.faces import draw_colored
from handkit.render.overlay import Mesh, beside, draw_label, draw_meshes, draw_skeleton, side_view, track_color
from handkit.video import Frame, VideoWriter

_CHUNK_FRAMES = 64


class Stage:
    """What the side view looks at: held still over a video, around each image's hands without rows."""

    def __init__(self, rows: Predictions | None = None) -> None:
        self.centre: np.ndarray | None = None
        self.radius: float | None = None
        if rows is not None and len(rows):
            points = rows.joints_3d.reshape(-1, 3)
            low, high = np.percentile(points, (1, 99), axis=0)
            self.centre = (low + high) / 2
            self.radius = max(0.12, 0.65 * float((high - low)[1:].max()))


def draw_hands(
    image: RgbImage,
    rows: Predictions,
    vertices: Sequence[Float[np.ndarray, "778 3"]],
    hands: HandPair,
    side: Stage | None,
    appearance: Appearance | None = None,
) -> RgbImage:
    """The picture with its hands drawn in place.

    With their appearance, lit, and next to it the same alone on black; with a stage, the side view last.
    """
    meshes = [
        Mesh(mesh, hands.model(bool(is_right)).faces, track_color(int(track)))
        for mesh, is_right, track in zip(vertices, rows.is_right, rows.track_id, strict=True)
    ]
    alone = None if appearance is None else np.zeros_like(image)
    if meshes and appearance is not None and alone is not None:
        lit = lit_meshes(rows, vertices, appearance, hands)
        draw_colored(image, lit, rows.K[0])
        draw_colored(alone, lit, rows.K[0])
    elif meshes:
        draw_meshes(image, meshes, rows.K[0])
    for i, mesh in enumerate(meshes):
        draw_skeleton(image, rows.joints_2d[i])
        label = f"{rows.track_id[i]} {'right' if rows.is_right[i] else 'left'}"
        low = rows.joints_2d[i].min(0)
        draw_label(image, label, (float(low[0]), float(low[1]) - 6), color=mesh.color)
    height = image.shape[0]
    image = image if alone is None else beside(image, alone)
    if side is None:
        return image
    return beside(image, side_view(meshes, size=(height, height), centre=side.centre, radius=side.radius))


def write_overlay_video(
    path: Path, frames: Iterable[Frame], posed: Posed, hands: HandPair, *, side_by_side: bool, fps: float
) -> int:
    """Draw the hands over the frames of a second reading; the number of frames written."""
    stage = Stage(posed.rows) if side_by_side else None
    with VideoWriter(path, fps=fps) as writer:
        first_s: float | None = None
        for frame in ahead(_drawn(ahead(frames), posed, hands, stage)):
            first_s = frame.time_s if first_s is None else first_s
            writer.write(frame.image, frame.time_s - first_s)
        return writer.frames_written


def _drawn(frames: Iterable[Frame], posed: Posed, hands: HandPair, stage: Stage | None) -> Iterator[Frame]:
    meshes = _meshes_by_frame(posed.rows, hands)
    waiting = next(meshes, None)
    for frame in frames:
        chosen: list[int] = []
        vertices: list[np.ndarray] = []
        while waiting is not None and waiting[0] < frame.index:
            waiting = next(meshes, None)
        if waiting is not None and waiting[0] == frame.index:
            _, chosen, vertices = waiting
            waiting = next(meshes, None)
        own = posed.pick(np.array(chosen, np.int64))
        drawn = draw_hands(frame.image, own.rows, vertices, hands, stage, own.appearance)
        yield Frame(frame.index, frame.time_s, drawn)


def _meshes_by_frame(rows: Predictions, hands: HandPair) -> Iterator[tuple[int, list[int], list[np.ndarray]]]:
    """(frame, rows, their vertices), frame after frame; meshes are rebuilt in chunks to hold memory down."""
    by_frame = [
        (frame, list(group)) for frame, group in groupby(range(len(rows)), key=lambda row: int(rows.frame[row]))
    ]
    for begin in range(0, len(by_frame), _CHUNK_FRAMES):
        chunk = by_frame[begin : begin + _CHUNK_FRAMES]
        vertices = iter(hands.vertices(rows, [row for _, chosen in chunk for row in chosen]))
        for frame, chosen in chunk:
            yield frame, chosen, [next(vertices) for _ in chosen]
