"""The still images of one folder: found one by one, posed in batches, kept together in one hands.npz."""

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from handkit.demo.camera import Camera
from handkit.demo.drawing import Stage, draw_hands
from handkit.demo.hands import (
    OUTSIDE_FIX,
    Sighting,
    fit_stills,
    is_fittable,
    is_in_picture,
    outside_words,
    wanted_hands,
)
from handkit.demo.inputs import OVERLAY_FOLDER, Unit
from handkit.demo.options import stamp_of
from handkit.demo.posed import Posed, join_posed
from handkit.demo.results import HANDS, read_hands, write_hands, write_meshes
from handkit.demo.summary import InputRecord, Settled, failed, read_marker, write_marker
from handkit.demo.tools import Tools
from handkit.images import RgbImage, image_focal_px, read_image, write_image

log = logging.getLogger(__name__)

# A batch is fitted when it has this many images or pixels: as fast as larger ones, and little memory.
_BATCH_IMAGES = 64
_BATCH_BYTES = 300_000_000
# What is done is written down this often, so that an interruption loses little.
_SAVE_EVERY_S = 20.0


@dataclass(frozen=True, eq=False)
class _Looked:
    """An image that was read, and the hands seen in it; `outside` are those that a network could not see."""

    path: Path
    image: RgbImage
    camera: Camera
    sightings: list[Sighting]
    seconds: float
    outside: int = 0


class StillsJob:
    """One folder's images; what an earlier run settled is kept, and what is done survives an interruption."""

    def __init__(self, unit: Unit, tools: Tools) -> None:
        self._unit, self._tools = unit, tools
        self._folder = tools.out / unit.name
        self._fingerprint = tools.options.fingerprint()
        self._settled: dict[Path, Settled] = {}
        self._posed: list[Posed] = []
        self._saved_at = time.monotonic()

    def run(self) -> list[InputRecord]:
        """A record per image, in the order of the unit."""
        real = {path: path.resolve() for path in self._unit.paths}
        self._keep_earlier(set(real.values()) if self._tools.force else set())
        todo = [path for path in self._unit.paths if real[path] not in self._settled]
        if todo:
            try:
                for batch in self._batches(self._look_at_all(todo)):
                    self._finish(batch)
            finally:
                self._save()
        return [replace(self._settled[real[path]].record, input=str(path)) for path in self._unit.paths]

    def _keep_earlier(self, again: set[Path]) -> None:
        """Images of this folder done before, named now or not, stay in its hands.npz as long as they are unchanged."""
        settled = {path: s for path, s in read_marker(self._folder, self._fingerprint).items() if path not in again}
        earlier = read_hands(self._folder, has_appearance=self._tools.has_appearance) if settled else None
        if earlier is not None:
            self._settled = settled
            names = {path.name for path in settled}
            self._posed.append(earlier.pick(np.array([str(name) in names for name in earlier.rows.image], bool)))

    def _look_at_all(self, paths: Sequence[Path]) -> Iterator[_Looked]:
        for path in self._tools.progress(paths, self._unit.name, len(paths)):
            started = time.monotonic()
            with self._tools.catching(str(path)) as caught:
                yield self._look_at(path, started)
            if caught.error is not None:
                self._settle(path, failed(path, "image", caught.error, time.monotonic() - started))

    def _look_at(self, path: Path, started: float) -> _Looked:
        options = self._tools.options
        image = np.ascontiguousarray(np.rot90(read_image(path), -options.rotate // 90))
        size = (image.shape[1], image.shape[0])
        camera = self._tools.cameras.choose(path, size, image_focal_px(path))
        found = self._tools.sources.for_stills().find(image, self._unit.paths.index(path), path)
        fittable = wanted_hands(filter(is_fittable, found), options.hands, options.max_hands)
        seen = [hand for hand in fittable if self._tools.network is None or is_in_picture(hand, size)]
        outside = len(fittable) - len(seen)
        if outside:
            log.warning("%s: %s: left out", path, outside_words(outside))
        sightings = [Sighting(hand, path.name, size, camera.K, track_id=i) for i, hand in enumerate(seen)]
        return _Looked(path, image, camera, sightings, time.monotonic() - started, outside)

    def _batches(self, looked: Iterator[_Looked]) -> Iterator[list[_Looked]]:
        batch: list[_Looked] = []
        for item in looked:
            batch.append(item)
            if len(batch) >= _BATCH_IMAGES or sum(one.image.nbytes for one in batch) >= _BATCH_BYTES:
                yield batch
                batch = []
        if batch:
            yield batch

    def _finish(self, batch: list[_Looked]) -> None:
        """Pose, draw and export a batch; afterwards its images are done."""
        tools = self._tools
        started = time.monotonic()
        sightings = [sighting for item in batch for sighting in item.sightings]
        posed = self._joined([])
        if sightings:
            posed = self._pose(sightings, [item.image for item in batch for _ in item.sightings])
            self._posed.append(posed)
        first = 0
        for item in batch:
            chosen = np.arange(first, first + len(item.sightings))
            first += len(chosen)
            if tools.options.overlay:
                self._draw(item, posed.pick(chosen))
        write_meshes(self._folder, posed, tools.hands, tools.options.export)
        shared = (time.monotonic() - started) / len(batch)
        for item in batch:
            self._settle(item.path, self._record(item, shared))
        if time.monotonic() - self._saved_at > _SAVE_EVERY_S:
            self._save()

    def _pose(self, sightings: list[Sighting], images: list[RgbImage]) -> Posed:
        """By the network, by the fit, or by one after the other."""
        tools = self._tools
        start = None if tools.network is None else tools.network.stills(sightings, images)
        if start is not None and not tools.options.refine_keypoints:
            return start
        landmarks = tools.sources.for_stills().landmarks
        rows = fit_stills(sightings, tools.hands, landmarks, None if start is None else start.rows)
        return Posed(rows, None if start is None else start.appearance)

    def _joined(self, parts: Sequence[Posed]) -> Posed:
        return join_posed(parts, has_appearance=self._tools.has_appearance)

    def _draw(self, item: _Looked, posed: Posed) -> None:
        hands = self._tools.hands
        vertices = hands.vertices(posed.rows, range(len(posed)))
        stage = Stage() if self._tools.options.side_view else None
        name = item.path.name
        # Always JPEG: inputs may be of a kind that cannot be written.
        name += "" if item.path.suffix.lower() in (".jpg", ".jpeg") else ".jpg"
        drawn = draw_hands(item.image, posed.rows, vertices, hands, stage, posed.appearance)
        write_image(self._folder / OVERLAY_FOLDER / name, drawn)

    def _record(self, item: _Looked, shared_s: float) -> InputRecord:
        has_reason = bool(item.outside and not item.sightings)
        return InputRecord(
            input=str(item.path),
            kind="image",
            status="done" if item.sightings else "no hand",
            why=outside_words(item.outside) if has_reason else None,
            fix=OUTSIDE_FIX if has_reason else None,
            seconds=round(item.seconds + shared_s, 3),
            frames=1,
            hands=len(item.sightings),
            camera_source=item.camera.source,
            output=f"{self._unit.name}/{HANDS}",
        )

    def _settle(self, path: Path, record: InputRecord) -> None:
        real = path.resolve()
        self._settled[real] = Settled(real, record, stamp_of(path) if path.exists() else [])

    def _save(self) -> None:
        """Rows and records of all that is done; images still to come are simply absent."""
        settled = [self._settled[path] for path in sorted(self._settled)]
        if not settled:
            return
        posed = self._joined(self._posed)
        order = {entry.path.name: i for i, entry in enumerate(settled)}
        frame = np.array([order[str(name)] for name in posed.rows.image], np.int64)
        posed = replace(posed, rows=replace(posed.rows, frame=frame)).pick(np.lexsort((posed.rows.track_id, frame)))
        records = [entry.record for entry in settled]
        method = self._tools.method
        write_hands(self._folder, posed, records, self._tools.hands, self._tools.options, method)
        write_marker(self._folder, self._fingerprint, settled)
        self._saved_at = time.monotonic()


def process_stills(unit: Unit, tools: Tools) -> list[InputRecord]:
    """Do the images of one folder."""
    return StillsJob(unit, tools).run()
