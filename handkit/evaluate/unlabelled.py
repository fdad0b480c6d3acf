"""Scores of hands without any truth: how steady they are along their tracks, and how near to what was detected."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int

from handkit.data.hands import HandSet
from handkit.errors import HandkitError
from handkit.evaluate.keypoint_sets import DETECTED_KEY, distance_to_detections_px
from handkit.evaluate.matching import ReadHands, match_names
from handkit.evaluate.motion import add_own_motion
from handkit.evaluate.protocols import Protocol, score_keys
from handkit.evaluate.rows import OwnRows
from handkit.evaluate.scores import Scores
from handkit.evaluate.steadiness import numbered
from handkit.export.predictions import Predictions

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Unlabelled:
    """The samples that all methods have, the methods' hands, and which of them are of these samples."""

    samples: HandSet
    own: dict[str, OwnRows]
    rows: dict[str, Int[np.ndarray, " N"]]


def gather_unlabelled(reads: Mapping[str, ReadHands], known: HandSet | None) -> Unlabelled:
    """Samples by the names and sequences that are `known` of a data set, else by the tracks of each file.

    Frames that one method lacks are left out of all, so that all are measured over the same. Raises HandkitError for
    files that hold points alone, and for methods without a frame in common.
    """
    own: dict[str, OwnRows] = {}
    for method, read in reads.items():
        if read.own is None:
            what = f"{method}: {read.hands.source} holds points and no parameters"
            raise HandkitError(what, "give hands.npz of handkit demo or handkit evaluate --method, or a truth by --gt")
        own[method] = read.own
    tracked = {method: own_tracks(rows.hands, source=method) for method, rows in own.items()}
    places: dict[str, Int[np.ndarray, " N"]] = {}
    first = next(iter(tracked.values()))
    names = first if known is None else known
    for method, read in reads.items():
        if known is None:
            rows_of = {name: row for row, name in enumerate(tracked[method].ids)}
            places[method] = np.array([rows_of.get(name, -1) for name in names.ids])
        else:
            places[method] = match_names(read.hands.ids, names.ids, read.confidence)
    common = np.flatnonzero(np.all([rows >= 0 for rows in places.values()], axis=0))
    if not len(common):
        raise HandkitError(f"{' and '.join(reads)} have no frame in common", "compare runs over the same pictures")
    chosen = HandSet(
        ids=tuple(names.ids[i] for i in common),
        sequences=None if names.sequences is None else tuple(names.sequences[i] for i in common),
        frames=None if names.frames is None else tuple(names.frames[i] for i in common),
        images=None if names.images is None else tuple(names.images[i] for i in common),
        source=", ".join(read.hands.source for read in reads.values()) if known is None else names.source,
    )
    return Unlabelled(chosen, own, {method: rows[common] for method, rows in places.items()})


def own_tracks(hands: Predictions, *, source: str = "") -> HandSet:
    """Names, tracks and frame numbers of rows: a track of one video is a sequence.

    Of a video of which every k-th frame was read the frames are counted from one to the next.
    """
    images, tracks, frames = hands.image.tolist(), hands.track_id.tolist(), hands.frame.astype(np.int64)
    several = {image for image in set(images) if len(set(hands.track_id[hands.image == image].tolist())) > 1}
    names = [
        f"{image}, track {track}" if image in several else image for image, track in zip(images, tracks, strict=True)
    ]
    numbers = frames.copy()
    for image in dict.fromkeys(images):
        own = hands.image == image
        step = math.gcd(*np.diff(np.unique(frames[own])).tolist())
        if step > 1:
            logger.info("%s: %s has every frame of %d: accelerations are from one to the next", source, image, step)
            numbers[own] //= step
    ids = [
        f"{Path(image).stem}_{frame:06d}{f'/{track}' if image in several else ''}"
        for image, track, frame in zip(images, tracks, frames.tolist(), strict=True)
    ]
    return HandSet(ids=tuple(ids), sequences=tuple(names), frames=tuple(numbers.tolist()), source=source)


def score_unlabelled(
    protocol: Protocol, method: str, own: OwnRows, rows: Int[np.ndarray, " N"], samples: HandSet, *, fps: float | None
) -> Scores:
    """Accelerations about the wrist, and distances to the detections, of samples whose own rows are `rows`."""
    summary: dict[str, float | int | None] = dict.fromkeys(score_keys(protocol))
    per_sample: dict[str, np.ndarray] = {}
    distances = distance_to_detections_px(own, rows)
    if np.isfinite(distances).any():
        per_sample[DETECTED_KEY] = distances
        summary[DETECTED_KEY] = float(np.nanmean(distances))
    sequences = samples.sequences
    if sequences is not None:
        frames = samples.frames or numbered(sequences)
        add_own_motion(own.hands.joints_3d[rows], sequences, frames, fps, summary, per_sample)
    warnings = [] if any(key.startswith("acc") for key in summary) else ["no track has three successive frames"]
    for sentence in warnings:
        logger.warning("%s: %s", method, sentence)
    return Scores(
        method=method,
        protocol=protocol.name,
        definition=protocol.definition(),
        ids=samples.ids,
        summary={**summary, "count": len(rows)},
        per_sample=per_sample,
        sequences=sequences,
        counts={"samples": len(own), "scored": len(rows)},
        warnings=tuple(warnings),
    )
