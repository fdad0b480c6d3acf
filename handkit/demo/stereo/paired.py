"""Which pictures of the two views belong together, and what is said of the others."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from handkit.demo.stereo.finding import FoundInView
from handkit.demo.stereo.reels import Reel, StillsReel
from handkit.demo.stereo.times import pair_times
from handkit.errors import HandkitError
from handkit.video import Frame

log = logging.getLogger(__name__)

# Rates that differ by less are one.
_SAME_RATE = 0.01


def pair_frames(
    found: tuple[FoundInView, FoundInView], reels: tuple[Reel, Reel]
) -> tuple[list[tuple[int, int]], tuple[FoundInView, FoundInView]]:
    """Frames (left, right) of one time, of stills of one place, and the sightings in them alone.

    What has no partner is counted in the log; raises HandkitError where nothing has one.
    """
    left, right = (own.times for own in found)
    if isinstance(reels[0], StillsReel):
        pairs = [(index, index) for index in sorted(left.keys() & right.keys())]
    else:
        pairs = pair_times(left, right)
    if not pairs:
        raise HandkitError("no picture of one view has a partner in the other", "give views taken at the same time")
    _tell_of_rates(reels)
    for name, own in (("left", left), ("right", right)):
        if len(own) > len(pairs):
            what = "%d of %d pictures of the %s view have no partner in the other view and are left out"
            log.warning(what, len(own) - len(pairs), len(own), name)
    kept = [{pair[i] for pair in pairs} for i in (0, 1)]
    parts = [
        replace(own, sightings=[sighting for sighting in own.sightings if sighting.frame in frames])
        for own, frames in zip(found, kept, strict=True)
    ]
    return pairs, (parts[0], parts[1])


def paired_frames(
    left: Iterable[Frame], right: Iterable[Frame], pairs: Sequence[tuple[int, int]]
) -> Iterator[tuple[Frame, Frame]]:
    """The frames of each pair, both in order; those of none are passed over."""
    others = iter(right)
    wanted = dict(pairs)
    other = next(others, None)
    for frame in left:
        index = wanted.get(frame.index)
        while index is not None and other is not None and other.index < index:
            other = next(others, None)
        if index is not None and other is not None and other.index == index:
            yield frame, other


def _tell_of_rates(reels: tuple[Reel, Reel]) -> None:
    rates = [reel.fps for reel in reels]
    if abs(rates[0] - rates[1]) > _SAME_RATE * max(rates):
        log.warning("the views have %.4g and %.4g frames a second: frames go by their times", *rates)
