"""Pieces of the work, each of which becomes one file: a video, some of a folder's stills, some of a data set.

A piece makes its patches one after the other and notes in its `Counts` what it leaves out.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float

from handkit.ahead import ahead
from handkit.data.annotations import AnnotatedDataset
from handkit.data.patch_files import Patch
from handkit.data.sample import HandSample
from handkit.demo.camera import CameraChoice
from handkit.demo.following import follow_hands
from handkit.demo.hands import Sighting, is_fittable, wanted_hands
from handkit.demo.options import stamp_of
from handkit.detect.detection import HandDetection
from handkit.errors import HandkitError
from handkit.evaluate.finders import picture_of
from handkit.gather.counts import FAILED, NO_HAND, OTHER_HAND, OUTSIDE, SHORT, Counts
from handkit.gather.cutting import canonical_K, cut_patch, is_shown, truth_of
from handkit.gather.finding import SampleFinder, build_source, check_length, check_own
from handkit.gather.options import GatherOptions, hash_of
from handkit.images import image_focal_px, read_image
from handkit.video import VideoReader

STILLS_A_PIECE: Final = 500
SAMPLES_A_PIECE: Final = 2000
Progress = Callable[[Iterable[Any], str, int | None], Iterable[Any]]


@dataclass(eq=False, kw_only=True)
class Piece(ABC):
    """A part of the source `source`; `name` is what it is called there."""

    source: str
    name: str
    options: GatherOptions
    cameras: CameraChoice
    counts: Counts = field(default_factory=Counts)

    @property
    def key(self) -> str:
        """A name that changes with whatever decides the patches."""
        return hash_of(self.source, self.name, self.options.fingerprint(), self.decisive())

    @abstractmethod
    def decisive(self) -> Any:
        """What decides the patches beside names and options."""

    def is_settled(self, earlier: Counts) -> bool:
        """Whether a file with these counts need not be made again."""
        return True

    @abstractmethod
    def patches(self, progress: Progress) -> Iterator[Patch]:
        """The patches; HandkitError where nothing of the piece can be used."""

    def _cut(self, image: Any, hand: HandDetection, K: Float[np.ndarray, "3 3"], **known: Any) -> Iterator[Patch]:
        """The hand's patch, unless it lies outside the picture."""
        if is_shown(hand, image.shape[1], image.shape[0]):
            yield cut_patch(image, hand, K, patch_px=self.options.patch_px, **known)
        else:
            self.counts.left_out[OUTSIDE] += 1


@dataclass(eq=False, kw_only=True)
class VideoPiece(Piece):
    """A video; its tracks are the sequences `<name>/<track>`. `named`: among others, given keypoints need its name."""

    path: Path
    named: bool = False

    def decisive(self) -> Any:
        return stamp_of(self.path), self.named and self.options.keypoints is not None

    def patches(self, progress: Progress) -> Iterator[Patch]:
        """Found and followed in a first reading of the video, cut in a second one."""
        options = self.options
        reader = VideoReader(self.path)
        if options.keypoints is not None and self.named:
            check_own(options.keypoints, self.path)
        K = self.cameras.choose(self.path, reader.size).K
        frames = ahead(progress(reader, f"{self.name}: finding hands", reader.frame_count))
        with closing(build_source(options, self.path)) as source:
            followed = follow_hands(reader, frames, source, K, hands=options.hands, max_hands=options.max_hands)
            check_length(source, followed.frames, self.path)
        if reader.damaged:
            fix = "the frames that could be read are used; copy the file again for the rest"
            self.counts.errors.append(HandkitError(reader.damaged, fix))
        self.counts.pictures, self.counts.found = followed.frames, followed.found
        self.counts.left_out += {NO_HAND: followed.empty, SHORT: followed.short, OTHER_HAND: followed.unwanted}
        at: dict[int, list[Sighting]] = {}
        for track in followed.tracks:
            for sighting in track:
                at.setdefault(sighting.frame, []).append(sighting)
        if at:
            for frame in ahead(progress(reader, f"{self.name}: cutting", reader.frame_count)):
                for sighting in at.pop(frame.index, []):
                    yield from self._cut(
                        frame.image,
                        sighting.detection,
                        K,
                        name=f"{self.name}_{frame.index:06d}_{sighting.track_id}",
                        sequence=f"{self.name}/{sighting.track_id}",
                        frame=frame.index,
                        time_s=sighting.time_s,
                    )
                if not at:
                    break


@dataclass(eq=False, kw_only=True)
class StillsPiece(Piece):
    """Pictures of one folder, `first` the place of the first in it and `whole` how many it has."""

    paths: tuple[Path, ...]
    first: int
    whole: int

    def decisive(self) -> Any:
        return [[path.name, *stamp_of(path)] for path in self.paths], self.first, self.whole

    def patches(self, progress: Progress) -> Iterator[Patch]:
        with closing(build_source(self.options, None)) as source:
            check_length(source, self.whole, self.paths[0].parent)
            for number, path in enumerate(progress(self.paths, self.name, len(self.paths)), self.first):
                try:
                    image = read_image(path)
                    K = self.cameras.choose(path, (image.shape[1], image.shape[0]), image_focal_px(path)).K
                    found = [hand for hand in source.find(image, number, path) if is_fittable(hand)]
                except HandkitError as error:
                    self.counts.fail(error)
                    continue
                wanted = wanted_hands(found, self.options.hands, self.options.max_hands)
                self.counts.pictures += 1
                self.counts.found += len(found)
                self.counts.left_out += {NO_HAND: not found, OTHER_HAND: len(found) - len(wanted)}
                for place, hand in enumerate(wanted):
                    name = f"{self.name}/{path.name}" + (f"_{place}" if len(wanted) > 1 else "")
                    yield from self._cut(image, hand, K, name=name)


@dataclass(eq=False, kw_only=True)
class DatasetPiece(Piece):
    """Some `rows` of a data set; `stamp` is what decides its content."""

    dataset: AnnotatedDataset
    rows: range
    stamp: Any

    def decisive(self) -> Any:
        return self.stamp, [self.rows.start, self.rows.stop]

    def is_settled(self, earlier: Counts) -> bool:
        """A picture that was missing may be there by now: the stamp does not say."""
        return not earlier.left_out[FAILED]

    def patches(self, progress: Progress) -> Iterator[Patch]:
        with closing(SampleFinder(self.dataset, self.options)) as finder:
            for row in progress(self.rows, self.name, len(self.rows)):
                try:
                    sample = self.dataset[row]
                except HandkitError as error:
                    self.counts.fail(error)
                    continue
                hand = finder.find(sample)
                self.counts.pictures += 1
                if hand is None or not is_fittable(hand):
                    self.counts.left_out[NO_HAND] += 1
                    continue
                self.counts.found += 1
                if not wanted_hands([hand], self.options.hands, 1):
                    self.counts.left_out[OTHER_HAND] += 1
                    continue
                yield from self._of_sample(sample, hand)

    def _of_sample(self, sample: HandSample, hand: HandDetection) -> Iterator[Patch]:
        image = picture_of(sample)
        size = (image.shape[1], image.shape[0])
        if sample["K_valid"]:
            K = sample["K"].astype(np.float64)
        else:
            K = canonical_K(*size) if sample["weak_valid"] else self.cameras.choose(Path(sample["name"]), size).K
        yield from self._cut(
            image,
            hand,
            K,
            name=sample["name"],
            sequence=sample["sequence"],
            frame=int(sample["frame"]),
            truth=truth_of(sample, K),
        )
