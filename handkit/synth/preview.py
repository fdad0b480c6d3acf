"""The first sequences as a video and as one picture."""

import math
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import UInt8

from handkit.images import write_image
from handkit.synth.sequence import SequenceMaker
from handkit.video import VideoWriter

VIDEO: Final = "preview.mp4"
SHEET: Final = "preview.png"

_SHOWN, _COLUMNS, _SHEET_FRAMES, _FPS = 12, 4, 10, 10


def write_preview(folder: Path, maker: SequenceMaker, sequences: int, *, shown: int = _SHOWN) -> tuple[Path, Path]:
    """Write preview.mp4, the first sequences beside each other, and preview.png, a sequence a row."""
    pictures = [maker.render(sequence)[0] for sequence in maker.annotate_many(range(min(shown, sequences)))]
    write_image(folder / SHEET, contact_sheet(pictures))
    frames = len(pictures[0])
    # There and back, so that it can be played in a loop; twice.
    order = [*range(frames), *range(frames - 2, 0, -1)] * 2
    with VideoWriter(folder / VIDEO, fps=_FPS, crf=18) as video:
        for frame in order:
            video.write(tile([clip[frame] for clip in pictures]))
    return folder / VIDEO, folder / SHEET


def contact_sheet(
    pictures: list[UInt8[np.ndarray, "T H W 3"]], *, columns: int = _SHEET_FRAMES
) -> UInt8[np.ndarray, "Y X 3"]:
    """A row for each sequence, of at most `columns` frames spread over it; single pictures side by side."""
    if len(pictures[0]) == 1:
        return tile([clip[0] for clip in pictures])
    chosen = np.unique(np.linspace(0, len(pictures[0]) - 1, min(columns, len(pictures[0]))).round().astype(int))
    return np.concatenate([np.concatenate(list(clip[chosen]), axis=1) for clip in pictures])


def tile(images: list[UInt8[np.ndarray, "H W 3"]], *, columns: int = _COLUMNS) -> UInt8[np.ndarray, "Y X 3"]:
    """Pictures of one size in rows, the last one filled up with black."""
    columns = min(columns, len(images))
    rows = math.ceil(len(images) / columns)
    blank = np.zeros_like(images[0])
    filled = [*images, *[blank] * (rows * columns - len(images))]
    return np.concatenate([np.concatenate(filled[row * columns : (row + 1) * columns], axis=1) for row in range(rows)])
