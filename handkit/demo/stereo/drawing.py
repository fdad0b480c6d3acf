"""Both views beside each other with their hands, each straight in its own camera."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np

from handkit.ahead import ahead
from handkit.demo.drawing import Stage, draw_hands
from handkit.demo.hands import HandPair
from handkit.demo.inputs import OVERLAY_FOLDER, OVERLAY_VIDEO
from handkit.demo.stereo.reels import Reel, VideoReel
from handkit.demo.stereo.views import View, ViewPair
from handkit.export.predictions import Predictions
from handkit.images import RgbImage, write_image
from handkit.render.overlay import Color, beside, draw_label
from handkit.video import Frame, VideoWriter

_PLATE: Final[Color] = (235, 235, 235)


class PairDrawer:
    """Draws the hands of `rows`, left and right, over a pair's pictures; the right view's from the side, if asked."""

    def __init__(
        self, views: ViewPair, rows: tuple[Predictions, Predictions], hands: HandPair, *, side_view: bool
    ) -> None:
        self._views, self._rows, self._hands = views, rows, hands
        self._stage = Stage(rows[1]) if side_view else None

    def draw(self, left: Frame, right: Frame, said: str) -> RgbImage:
        """Both pictures with their hands; `said` is written in the corner."""
        parts = [
            self._view(view, own, frame, stage)
            for view, own, frame, stage in zip(
                self._views.views, self._rows, (left, right), (None, self._stage), strict=True
            )
        ]
        picture = beside(parts[0], parts[1])
        draw_label(picture, said, (0.0, float(picture.shape[0])), color=_PLATE)
        return picture

    def _view(self, view: View, rows: Predictions, frame: Frame, stage: Stage | None) -> RgbImage:
        own = rows.rows(np.flatnonzero(rows.frame == frame.index))
        picture = np.ascontiguousarray(view.straighten(frame.image)).copy()
        return draw_hands(picture, own, self._hands.vertices(own, range(len(own))), self._hands, stage)


def write_overlays(folder: Path, reels: tuple[Reel, Reel], drawn: Iterable[Frame]) -> None:
    """A video, or a picture for each pair, of the name and the times of the left view's."""
    if isinstance(reels[0], VideoReel):
        with VideoWriter(folder / OVERLAY_VIDEO, fps=reels[0].fps) as writer:
            first_s: float | None = None
            for frame in ahead(drawn):
                first_s = frame.time_s if first_s is None else first_s
                writer.write(frame.image, frame.time_s - first_s)
        return
    for frame in ahead(drawn):
        name = reels[0].path_of(frame.index).name
        # Always JPEG: inputs may be of a kind that cannot be written.
        name += "" if Path(name).suffix.lower() in (".jpg", ".jpeg") else ".jpg"
        write_image(folder / OVERLAY_FOLDER / name, frame.image)
