"""Who finds the hands: a detector, or files of keypoints, which must match the pictures that they are given for."""

import glob
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from handkit.data.annotations import AnnotatedDataset, check_choice
from handkit.data.sample import HandSample
from handkit.demo.inputs import Unit
from handkit.demo.options import DemoOptions
from handkit.demo.sources import DetectedHands, GivenHands, Source
from handkit.detect.detection import HandDetection
from handkit.errors import HandkitError
from handkit.evaluate.finders import DetectedFinder, GivenFinder
from handkit.gather.options import DETECTORS, SIDES, GatherOptions

_MATCH: Final = (
    "keypoints are <video>_<frame>_keypoints.json or a folder <video>/ of them, <image>_keypoints.json, "
    "or an array for one video"
)


def check_options(options: GatherOptions) -> None:
    """Raise HandkitError for options that no source could be gathered with."""
    check_choice("detector", options.source, DETECTORS)
    check_choice("choice of hands", options.hands, SIDES)
    if options.max_hands < 1 or options.patch_px < 16:
        what = f"at most {options.max_hands} hands, in patches of at most {options.patch_px} pixels"
        raise HandkitError(what, "ask for 1 hand or more, and 16 pixels or more")
    if options.keypoints is not None and not options.keypoints.exists():
        raise HandkitError(f"{options.keypoints}: no such file or folder of keypoints", _MATCH)


def build_source(options: GatherOptions, video: Path | None) -> Source:
    """What finds the hands of a video's frames one after the other, or of stills; whoever asks closes it."""
    if options.keypoints is not None:
        return GivenHands(options.keypoints, video=video, is_right=options.hands != "left")
    asked = DemoOptions(hands=options.hands, max_hands=options.max_hands, min_score=options.min_score)
    return DetectedHands(asked, tracking=video is not None)


class SampleFinder:
    """Finds the hand of a data set's samples: the keypoints they bring, else the detector in their box."""

    def __init__(self, dataset: AnnotatedDataset, options: GatherOptions) -> None:
        known = bool(getattr(dataset, "sides_known", True))
        self._given = GivenFinder(sides_known=known)
        self._detected = DetectedFinder(sides_known=known, min_score=options.min_score)

    def find(self, sample: HandSample) -> HandDetection | None:
        """The hand in pixels of the sample's picture, None where none is seen."""
        found = (self._given if sample["keypoints_2d_valid"] else self._detected).find(sample)
        return None if found is None else found.hand

    def close(self) -> None:
        """Let go of networks."""
        self._detected.close()


def check_given(keypoints: Path, units: Sequence[Unit]) -> None:
    """Raise HandkitError where it is open which of the units' pictures the keypoints are of."""
    if not keypoints.is_dir() and len(units) > 1:
        raise HandkitError(
            f"{keypoints} is one file of keypoints, but there are {len(units)} videos or folders", _MATCH
        )
    stems = Counter(path.stem for unit in units for path in unit.paths)
    stem, count = stems.most_common(1)[0]
    if count > 1:
        raise HandkitError(f"{count} pictures or videos are called {stem}: whose are the keypoints?", "rename them")


def check_own(keypoints: Path, video: Path) -> None:
    """Raise HandkitError where a folder of several videos' keypoints has none by this video's name."""
    named = (keypoints / video.stem).is_dir() or any(keypoints.glob(f"{glob.escape(video.stem)}_*_keypoints.json"))
    if keypoints.is_dir() and not named:
        raise HandkitError(f"{video}: no keypoints of it in {keypoints}", _MATCH)


def check_length(source: Source, pictures: int, path: Path) -> None:
    """Raise HandkitError where there are keypoints of more frames or images than there are."""
    if isinstance(source, GivenHands) and source.last >= pictures:
        what = f"{path} has {pictures} frames or images, but there are keypoints of number {source.last}"
        raise HandkitError(what, "give the keypoints that were made of it; numbers count from 0")
