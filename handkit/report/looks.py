"""What page and paper draw of a method's own files: which curves, which sequences' shapes, which hands' textures."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float

from handkit.evaluate.scores import FrameCurve, Scores, SequenceLooks
from handkit.report.names import unique

MOST_SEQUENCES: Final = 4
_WHISKER: Final = 1.5


class Box(NamedTuple):
    """One parameter over a sequence: quartiles, the furthest values within 1.5 times their distance, mean and S.D."""

    low: float
    middle: float
    high: float
    least: float
    most: float
    mean: float
    sd: float


class ShownShapes(NamedTuple):
    """The boxes of a sequence's ten shape parameters by method."""

    name: str
    boxes: dict[str, list[Box]]


class ShownTexture(NamedTuple):
    """A method's S.D. of each face's colour, 0..255: of one sequence, or the mean over all."""

    method: str
    name: str
    face_sd: Float[np.ndarray, " 1538"]


def frame_labels(scores: Sequence[Scores]) -> list[tuple[str, FrameCurve]]:
    """Every curve, by its set of keypoints and of several methods by method too."""
    return [
        (f"{score.method}, {curve.keypoints}" if len(scores) > 1 else curve.keypoints, curve)
        for score in scores
        for curve in score.frame_curves
    ]


def shown_shapes(scores: Sequence[Scores]) -> tuple[list[ShownShapes], int]:
    """The longest sequences, in their order, and how many there are."""
    names, count = _longest(scores)
    shown = []
    for name in names:
        found = {score.method: look for score in scores if (look := _look(score, name)) is not None}
        boxes = {method: [box_of(column) for column in look.betas.T] for method, look in found.items()}
        shown.append(ShownShapes(name, boxes))
    return shown, count


def shown_textures(scores: Sequence[Scores]) -> list[ShownTexture]:
    """Of each method the mean over sequences; where there are several, the longest after it."""
    shown = []
    names, count = _longest(scores)
    for score in scores:
        known = [look.texture_sd for look in score.looks if look.texture_sd is not None]
        if not known:
            continue
        mean = np.mean(known, axis=0)
        if count == 1:
            shown.append(ShownTexture(score.method, names[0], mean))
            continue
        shown.append(ShownTexture(score.method, f"mean over {len(known)} sequences", mean))
        for name in names:
            look = _look(score, name)
            if look is not None and look.texture_sd is not None:
                shown.append(ShownTexture(score.method, name, look.texture_sd))
    return shown


def box_of(values: Float[np.ndarray, " T"]) -> Box:
    """As matplotlib and plotly draw boxes: quartiles by linear interpolation; S.D. with divisor T."""
    low, middle, high = np.percentile(values, (25, 50, 75))
    reach = _WHISKER * (high - low)
    inside = values[(values >= low - reach) & (values <= high + reach)]
    return Box(*map(float, (low, middle, high, inside.min(), inside.max(), values.mean(), values.std())))


def _longest(scores: Sequence[Scores]) -> tuple[list[str], int]:
    """At most `MOST_SEQUENCES` names, those with the most frames, in the order of the data."""
    lengths: dict[str, int] = {}
    for look in (look for score in scores for look in score.looks):
        lengths[look.name] = max(lengths.get(look.name, 0), len(look.betas))
    chosen = sorted(lengths, key=lambda name: -lengths[name])[:MOST_SEQUENCES]
    return [name for name in unique(lengths) if name in chosen], len(lengths)


def _look(score: Scores, name: str) -> SequenceLooks | None:
    return next((look for look in score.looks if look.name == name), None)
