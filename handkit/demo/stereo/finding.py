"""Hands of either view, frame by frame, in the pictures as they are looked at."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from handkit.demo.following import follow_hands
from handkit.demo.hands import Sighting, is_fittable, wanted_hands
from handkit.demo.stereo.reels import Reel, StillsReel, VideoReel
from handkit.demo.stereo.views import View
from handkit.demo.tools import Tools
from handkit.errors import HandkitError
from handkit.video import Frame


@dataclass(frozen=True, eq=False)
class FoundInView:
    """Sightings by frame, then track, in looked-at pixels; the time of every frame, with a hand or without.

    Tracks of stills are each one sighting.
    """

    sightings: list[Sighting]
    times: dict[int, float]

    def tracks(self) -> list[list[Sighting]]:
        """The sightings of each track, in order of time."""
        found: dict[int, list[Sighting]] = {}
        for sighting in self.sightings:
            found.setdefault(sighting.track_id, []).append(sighting)
        return list(found.values())

    def places(self, frame: int) -> list[int]:
        """Which sightings are of a frame."""
        return self._places.get(frame, [])

    @cached_property
    def _places(self) -> dict[int, list[int]]:
        places: dict[int, list[int]] = {}
        for place, sighting in enumerate(self.sightings):
            places.setdefault(sighting.frame, []).append(place)
        return places


def in_order(sightings: Iterable[Sighting]) -> list[Sighting]:
    """By frame, then track."""
    return sorted(sightings, key=lambda sighting: (sighting.frame, sighting.track_id))


def looked_at(reel: Reel, view: View) -> Iterator[Frame]:
    """The reel's frames as they are looked at."""
    return (replace(frame, image=view.look_at(frame.image)) for frame in reel.frames())


def find_hands(reel: Reel, view: View, tools: Tools, title: str) -> FoundInView:
    """Hands of one view; raises HandkitError where it has no frames."""
    times: dict[int, float] = {}

    def frames() -> Iterator[Frame]:
        for frame in looked_at(reel, view):
            times[frame.index] = frame.time_s
            yield frame

    shown = tools.progress(frames(), f"{title}: finding hands", reel.count)
    sightings = (
        _in_video(reel, view, shown, tools) if isinstance(reel, VideoReel) else _in_stills(reel, view, shown, tools)
    )
    if not times and isinstance(reel, VideoReel):
        raise HandkitError(f"{reel.reader.path}: no frame from {tools.options.start:g} s on", "check --start and --end")
    return FoundInView(in_order(sightings), times)


def _in_video(reel: VideoReel, view: View, frames: Iterable[Frame], tools: Tools) -> list[Sighting]:
    options = tools.options
    with tools.sources.for_video(reel.reader.path) as source:
        followed = follow_hands(reel.reader, frames, source, view.K, hands=options.hands, max_hands=options.max_hands)
    return [replace(sighting, size=view.looked_size) for track in followed.tracks for sighting in track]


def _in_stills(reel: StillsReel, view: View, frames: Iterable[Frame], tools: Tools) -> list[Sighting]:
    options, sightings = tools.options, list[Sighting]()
    for frame in frames:
        path = reel.path_of(frame.index)
        found = tools.sources.for_stills().find(frame.image, frame.index, path)
        for hand in wanted_hands(filter(is_fittable, found), options.hands, options.max_hands):
            sighting = Sighting(hand, path.name, view.looked_size, view.K, frame.index, track_id=len(sightings))
            sightings.append(sighting)
    return sightings
