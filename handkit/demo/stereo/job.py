"""One pair of views from their files to `OUT/<name>/left` and `right`: hands.npz of either, and what is beside them.

In a folder alone.npz has the same rows as that view alone says them.
Beside the folders: rig.json, the rig as `handkit refine left/hands.npz right/hands.npz --rig rig.json` reads it, in
metres; stereo.json, see `handkit.demo.stereo.told`; overlay.mp4, or overlay/ of pictures, both views side by side; of
methods that recover meshes meshes.npz, see `handkit.demo.stereo.meshes`.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from handkit.demo.options import stamp_of
from handkit.demo.posed import Posed
from handkit.demo.results import HANDS, write_hands, write_meshes, write_track_meshes
from handkit.demo.stereo.alone import ViewMethod
from handkit.demo.stereo.drawing import PairDrawer, write_overlays
from handkit.demo.stereo.finding import FoundInView, find_hands, looked_at
from handkit.demo.stereo.inputs import PairUnit
from handkit.demo.stereo.meshes import write_pair_meshes
from handkit.demo.stereo.method import PairMethod
from handkit.demo.stereo.paired import pair_frames, paired_frames
from handkit.demo.stereo.pairing import agree_on_hands, match_sightings
from handkit.demo.stereo.reels import Reel, StillsReel, VideoReel, open_reels
from handkit.demo.stereo.solving import Fused, Solved, pose_alone, pose_pairs, solve, unit_of_hands
from handkit.demo.stereo.told import SIDES, Told, read_told, tell, write_rig, write_told
from handkit.demo.stereo.views import ViewPair, pair_views
from handkit.demo.summary import InputRecord, Settled, earlier_record, write_marker
from handkit.demo.tools import Tools
from handkit.errors import HandkitError
from handkit.export.predictions import Predictions, load_predictions, save_predictions
from handkit.refine.rig import Rig
from handkit.refine.together import settle_unit
from handkit.video import Frame

log = logging.getLogger(__name__)

# What each view alone says of its hands, as hands.npz has it.
ALONE: Final = "alone.npz"

Reels = tuple[Reel, Reel]


class StereoJob:
    """The views of one unit, each by `alone` and both by `method`.

    What an earlier run of the same options did with the same files is kept.
    """

    def __init__(self, unit: PairUnit, rig: Rig, tools: Tools, method: PairMethod, alone: ViewMethod) -> None:
        self._unit, self._rig, self._tools, self._method, self._alone = unit, rig, tools, method, alone
        self._folder = tools.out / unit.name
        self._fingerprint = tools.options.fingerprint()
        self._started = time.monotonic()

    def run(self) -> tuple[list[InputRecord], dict[str, Any]]:
        """A record per file, the left view's first, and the figures of stereo.json."""
        if not self._tools.force and (earlier := self._earlier()) is not None:
            return earlier
        reels = open_reels(self._unit, self._tools.options)
        views = pair_views(self._rig, (reels[0].size, reels[1].size))
        self._tell_of(views, reels)
        sides = zip(reels, views.views, SIDES, strict=True)
        found = [find_hands(reel, view, self._tools, f"{self._unit.name}, {side}") for reel, view, side in sides]
        pairs, kept = pair_frames((found[0], found[1]), reels)
        views, solved = self._solve(kept, pairs, reels, views)
        told = tell(pairs, solved, views, (found[0].times, found[1].times))
        told.log()
        if self._tools.options.overlay:
            self._draw(reels, views, solved.rows, pairs, told)
        return self._write(reels, views, solved, told)

    def _solve(
        self,
        found: tuple[FoundInView, FoundInView],
        pairs: Sequence[tuple[int, int]],
        reels: Reels,
        views: ViewPair,
    ) -> tuple[ViewPair, Solved]:
        """The hands, and the views with their unit in metres."""
        found, met = agree_on_hands(found, match_sightings(found, pairs, views))
        alone = [
            pose_alone(own, looked_at(reel, view), self._alone)
            for own, reel, view in zip(found, reels, views.views, strict=True)
        ]
        sides = alone[0], alone[1]
        if met:
            unit = unit_of_hands(met, sides)
            views = replace(views, unit_m=settle_unit(self._rig, unit) if unit else views.unit_m)
        fused = Fused(alone[1].rows(np.zeros(0, np.int64)), met)
        if met:
            left, right = (looked_at(reel, view) for reel, view in zip(reels, views.views, strict=True))
            fused = pose_pairs(found, met, paired_frames(left, right, pairs), views, self._method)
        solved = solve(sides, fused, views)
        return views, solved if self._unit.kind == "video" else _numbered_by_picture(solved)

    def _tell_of(self, views: ViewPair, reels: Reels) -> None:
        if reels[0].size != reels[1].size:
            log.warning(
                "the views' pictures are of different sizes, %d x %d and %d x %d", *reels[0].size, *reels[1].size
            )
        if views.is_crossed:
            log.warning(
                "by the rig its second camera stands left of its first, so that disparities are negative: exchange "
                "both the views of the rig and LEFT with RIGHT where the network learned from left and right cameras"
            )

    def _draw(
        self,
        reels: Reels,
        views: ViewPair,
        rows: tuple[Predictions, Predictions],
        pairs: Sequence[tuple[int, int]],
        told: Told,
    ) -> None:
        drawer = PairDrawer(views, rows, self._tools.hands, side_view=self._tools.options.side_view)
        words = {pair.left: pair.words for pair in told.pairs}

        def drawn() -> Iterator[Frame]:
            frames = paired_frames(reels[0].frames(), reels[1].frames(), pairs)
            for left, right in self._tools.progress(frames, f"{self._unit.name}: drawing", len(pairs)):
                yield replace(left, image=drawer.draw(left, right, words[left.index]))

        write_overlays(self._folder, reels, drawn())

    def _write(
        self, reels: Reels, views: ViewPair, solved: Solved, told: Told
    ) -> tuple[list[InputRecord], dict[str, Any]]:
        write_rig(self._folder / "rig.json", views)
        figures = write_told(self._folder, told, views)
        write_pair_meshes(self._folder, solved)
        records: list[InputRecord] = []
        for i in range(2):
            records += self._write_view(i, solved, self._records(reels, i, solved.rows[i], told))
        return records, figures

    def _write_view(self, i: int, solved: Solved, records: list[InputRecord]) -> list[InputRecord]:
        """hands.npz and its companions; its marker last."""
        tools, folder, posed = self._tools, self._folder / SIDES[i], Posed(solved.rows[i])
        write = write_track_meshes if self._unit.kind == "video" else write_meshes
        write(folder, posed, tools.hands, tools.options.export)
        write_hands(folder, posed, records, tools.hands, tools.options, tools.method)
        same = ("inputs", "status", "hand_model", "method", "camera_source")
        written = load_predictions(folder / HANDS)
        alone = replace(solved.alone[i], **{name: getattr(written, name) for name in same})
        save_predictions(folder / ALONE, alone)
        files = self._files(i)
        settled = [Settled(path.resolve(), record, stamp_of(path)) for path, record in zip(files, records, strict=True)]
        write_marker(folder, self._fingerprint, settled)
        return records

    def _records(self, reels: Reels, i: int, rows: Predictions, told: Told) -> list[InputRecord]:
        seconds = (time.monotonic() - self._started) / (2 * len(self._files(0)))
        records = []
        for place, path in enumerate(self._files(i)):
            why, fix = self._trouble(reels, i, place)
            is_video = self._unit.kind == "video"
            own = rows if is_video else rows.rows(rows.frame == place)
            failed = not is_video and why is not None
            record = InputRecord(
                input=str(path),
                kind=self._unit.kind,
                status="failed" if failed else "damaged" if why else "done" if len(own) else "no hand",
                why=why,
                fix=fix,
                seconds=round(seconds, 3),
                frames=told.frames[i] if is_video else 1 - failed,
                hands=len(own),
                tracks=len(np.unique(own.track_id)) if is_video else 0,
                camera_source=f"rig ({self._tools.options.rig.name})" if self._tools.options.rig else "rig",
                output=f"{self._unit.name}/{SIDES[i]}/{HANDS}",
            )
            if why and fix:
                self._tools.on_error(HandkitError(why, fix))
            records.append(record)
        return records

    def _trouble(self, reels: Reels, i: int, place: int) -> tuple[str | None, str | None]:
        """What is wrong with a file of one view, and the way out."""
        reel, other = reels[i], reels[1 - i]
        if isinstance(reel, VideoReel):
            fix = "the frames that could be read are done; copy the file again for the rest"
            return reel.damaged, fix if reel.damaged else None
        if place in reel.failures:
            return reel.failures[place].what, reel.failures[place].fix
        if isinstance(other, StillsReel) and place in other.failures:
            what = f"{reel.path_of(place)}: the other picture of its pair cannot be used"
            return what, "see what is said of that one; handkit demo without --stereo does pictures alone"
        return None, None

    def _files(self, i: int) -> tuple[Path, ...]:
        return (self._unit.left, self._unit.right)[i]

    def _earlier(self) -> tuple[list[InputRecord], dict[str, Any]] | None:
        records = [
            earlier_record(self._folder / side, self._fingerprint, path)
            for i, side in enumerate(SIDES)
            for path in self._files(i)
        ]
        figures = read_told(self._folder)
        kept = [record for record in records if record is not None]
        return (kept, figures) if figures is not None and len(kept) == len(records) else None


def _numbered_by_picture(solved: Solved) -> Solved:
    """Hands of stills are numbered within their pair, alike in both views."""
    numbers: dict[int, set[int]] = {}
    for rows in solved.rows:
        for frame, track in zip(rows.frame.tolist(), rows.track_id.tolist(), strict=True):
            numbers.setdefault(frame, set()).add(track)
    place = {(frame, track): i for frame, own in numbers.items() for i, track in enumerate(sorted(own))}

    def numbered(rows: Predictions) -> Predictions:
        tracks = [place[key] for key in zip(rows.frame.tolist(), rows.track_id.tolist(), strict=True)]
        return replace(rows, track_id=np.array(tracks, np.int64))

    left, right, left_alone, right_alone = (numbered(rows) for rows in (*solved.rows, *solved.alone))
    return replace(solved, rows=(left, right), alone=(left_alone, right_alone))
