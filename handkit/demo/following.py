"""Hands of a video found frame by frame and followed; only keypoints are kept, so memory does not grow with it.

Whose a hand is, and on which side, is certain only at the video's end.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from jaxtyping import Float

from handkit.demo.hands import Sighting, is_fittable, is_in_picture
from handkit.demo.sources import Source
from handkit.detect.track import Tracker
from handkit.video import Frame, VideoReader

# A hand seen in fewer frames is more likely a false alarm.
MIN_TRACK_FRAMES: Final = 3
# Two frames of broken files may claim one time.
_MIN_STEP_S: Final = 1e-4


@dataclass(frozen=True, eq=False)
class Followed:
    """The sightings of each track, in order of time, and how many frames there were.

    `empty` counts frames without a hand; of the hands `found`, `short` were on tracks of fewer than `MIN_TRACK_FRAMES`
    frames and `unwanted` of the side not asked for, or more at a time than asked for. `outside` were left out before.
    """

    tracks: list[list[Sighting]]
    landmarks: str
    frames: int
    empty: int
    found: int
    short: int
    unwanted: int
    outside: int = 0


def follow_hands(
    reader: VideoReader,
    frames: Iterable[Frame],
    source: Source,
    K: Float[np.ndarray, "3 3"],
    *,
    hands: str,
    max_hands: int,
    in_picture: bool = False,
) -> Followed:
    """Hands of the `frames` that a reader gives, and whose they are; `hands` is "both", "right" or "left".

    With `in_picture` those without a keypoint in it are left out.
    """
    tracker = Tracker(max_hands=max_hands if hands == "both" else None)
    seen: dict[int, list[Sighting]] = {}
    count, empty, total, outside, time_s = 0, 0, 0, 0, -1.0
    for frame in frames:
        time_s = max(frame.time_s, time_s + _MIN_STEP_S)
        fittable = [hand for hand in source.find(frame.image, frame.index) if is_fittable(hand)]
        found = [hand for hand in fittable if not in_picture or is_in_picture(hand, reader.size)]
        for hand, track_id in zip(found, tracker.update(time_s, found), strict=True):
            if track_id is not None:
                sighting = Sighting(hand, reader.path.name, reader.size, K, frame.index, time_s)
                seen.setdefault(track_id, []).append(sighting)
        count, empty, total = count + 1, empty + (not found), total + len(found)
        outside += len(fittable) - len(found)
    sides = {track_id: summary.is_right for track_id, summary in tracker.summaries().items()}
    long = {track_id: track for track_id, track in seen.items() if len(track) >= min(MIN_TRACK_FRAMES, count)}
    asked = {track_id: track for track_id, track in long.items() if hands in ("both", _side(sides[track_id]))}
    limited = _at_most(max_hands, asked)
    tracks = [
        [
            replace(s, track_id=number, detection=replace(s.detection, is_right=sides[track_id]))
            for s in limited[track_id]
        ]
        for number, track_id in enumerate(sorted(limited))
    ]
    short = _hands_of(seen.values()) - _hands_of(long.values())
    unwanted = total - short - _hands_of(tracks)
    return Followed(
        tracks, source.landmarks, count, empty, found=total, short=short, unwanted=unwanted, outside=outside
    )


def _side(is_right: bool) -> str:
    return "right" if is_right else "left"


def _hands_of(tracks: Iterable[list[Sighting]]) -> int:
    return sum(map(len, tracks))


def _at_most(max_hands: int, tracks: dict[int, list[Sighting]]) -> dict[int, list[Sighting]]:
    """At most so many hands in any frame: the tracks seen longest go first."""
    taken: Counter[int] = Counter()
    kept: dict[int, list[Sighting]] = {}
    for track_id, sightings in sorted(tracks.items(), key=lambda item: -len(item[1])):
        free = [sighting for sighting in sightings if taken[sighting.frame] < max_hands]
        taken.update(sighting.frame for sighting in free)
        if free:
            kept[track_id] = free
    return kept
