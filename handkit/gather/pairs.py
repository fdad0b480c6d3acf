"""Two calibrated views, in videos or pictures, to a patch of each around the hands that both see: made once.

Frames are paired, hands found, matched and their sides agreed on as `handkit demo --stereo` does it, in the pictures as
it looks at them: rectified, or without their lens's distortion. Patches are cut out of those, and are all of one size.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float

from handkit.ahead import ahead
from handkit.data.gathered_pairs import KIND, GatheredPairs
from handkit.data.pair_counts import FAILED, NO_MATCH, OUTSIDE, UNPAIRED, PairCounts
from handkit.data.patch_files import Patch, hand_box, write_patches
from handkit.demo.camera import CameraChoice
from handkit.demo.hands import HandPair, Sighting
from handkit.demo.options import DemoOptions, stamp_of
from handkit.demo.sources import SourceChoice
from handkit.demo.stereo.finding import FoundInView, find_hands, looked_at
from handkit.demo.stereo.inputs import PairUnit, find_pairs
from handkit.demo.stereo.paired import pair_frames, paired_frames
from handkit.demo.stereo.pairing import Met, agree_on_hands, match_sightings
from handkit.demo.stereo.reels import Reel, StillsReel, open_reels
from handkit.demo.stereo.views import ViewPair, pair_views, read_stereo_rig
from handkit.demo.tools import Tools
from handkit.detect.crop import CROP_SCALE, square_box
from handkit.detect.detection import HandDetection
from handkit.errors import HandkitError
from handkit.files import check_writable
from handkit.gather.cutting import cut_square, is_shown
from handkit.gather.finding import check_options
from handkit.gather.options import GatherOptions, hash_of
from handkit.gather.unit import unit_of_palms
from handkit.geometry.disparity import rectify
from handkit.refine.rig import Rig
from handkit.refine.together import settle_unit
from handkit.video import Frame

SUFFIX: Final = ".pairs"
SIDES: Final = ("left", "right")


def gather_pairs(
    left: Path,
    right: Path,
    rig: Path,
    out: Path,
    *,
    hands: str = "both",
    max_hands: int = 2,
    min_score: float = 0.5,
    stride: int = 1,
    patch_px: int = 320,
    hand_model: str = "open",
    show_progress: bool = False,
    on_error: Callable[[HandkitError], None] = lambda error: None,
) -> GatheredPairs:
    """The hands that both views see; what an earlier call left under `out` is read where nothing changed since.

    left, right: two videos, two pictures, or folders of pictures, through the first and the second camera of `rig`.
    stride: every n-th frame, or picture of a folder. Where the rig does not say its unit, the mean palm of
    `hand_model` does. A picture that cannot be used is given to `on_error` and counted. Raises HandkitError for a
    rig or views that are no calibrated pair, for options that make no sense, and where no hand is seen by both.
    """
    check_options(GatherOptions(hands=hands, max_hands=max_hands, min_score=min_score, patch_px=patch_px))
    if stride < 1:
        raise HandkitError(f"stride is {stride}", "use 1 or more")
    check_writable(out)
    options = DemoOptions(
        hands=hands,
        max_hands=max_hands,
        min_score=min_score,
        stride=stride,
        hand_model=hand_model,
        stereo=(left, right),
        rig=rig,
    )
    read, unit = read_stereo_rig(rig), _every_nth(find_pairs(left, right), stride)
    files = [[path.name, *stamp_of(path)] for path in (*unit.left, *unit.right)]
    path = out / f"{hash_of(unit.name, options.fingerprint(), patch_px, files)}{SUFFIX}"
    gathered = _earlier(path)
    if gathered is None:
        with closing(SourceChoice(options)) as sources:
            tools = Tools(
                options=options,
                out=out,
                hands=HandPair(hand_model),
                cameras=CameraChoice(),
                sources=sources,
                force=False,
                show_progress=show_progress,
                on_error=on_error,
                debug=False,
            )
            _PairJob(unit, read, tools, patch_px).write(path)
        return GatheredPairs(path)
    for error in gathered.counts.errors:
        on_error(error)
    return gathered


def _every_nth(unit: PairUnit, stride: int) -> PairUnit:
    """Of pictures every n-th pair; videos are read so."""
    return unit if unit.kind == "video" else replace(unit, left=unit.left[::stride], right=unit.right[::stride])


def _earlier(path: Path) -> GatheredPairs | None:
    try:
        return GatheredPairs(path)
    except HandkitError:
        return None


@dataclass(eq=False)
class _PairJob:
    """The views of one unit, from their files to the file of pairs."""

    unit: PairUnit
    rig: Rig
    tools: Tools
    patch_px: int
    counts: PairCounts = field(default_factory=PairCounts)

    def write(self, path: Path) -> None:
        """Find, match and cut; raises HandkitError where nothing is left."""
        reels = open_reels(self.unit, self.tools.options)
        views = pair_views(self.rig, (reels[0].size, reels[1].size))
        named = zip(reels, views.views, SIDES, strict=True)
        left, right = (find_hands(reel, view, self.tools, f"{self.unit.name}, {side}") for reel, view, side in named)
        self._count_failures(reels)
        pairs, found = pair_frames((left, right), reels)
        self.counts.left_out[UNPAIRED] += len(left.times) + len(right.times) - 2 * len(pairs)
        for i, j in pairs:
            self.counts.add_pictures(len(found[0].places(i)), len(found[1].places(j)))
        found, met = agree_on_hands(found, match_sightings(found, pairs, views))
        met = self._shown_by_both(found, met)
        if not met:
            raise self._nothing()
        views = replace(views, unit_m=self._unit_of(met))
        right_from_left = views.right_from_left
        rectify(torch.from_numpy(right_from_left))
        card = {"kind": KIND, "source": self.unit.name, "how": views.how, "unit_m": views.unit_m}
        card |= {"right_from_left": right_from_left.tolist()}
        patches = self._patches(reels, views, found, met, pairs)
        write_patches(path, patches, lambda: {**card, "counts": self.counts.to_card()})

    def _count_failures(self, reels: tuple[Reel, Reel]) -> None:
        for reel in reels:
            errors = list(reel.failures.values()) if isinstance(reel, StillsReel) else []
            if reel.damaged:
                fix = "the frames that could be read are used; copy the file again for the rest"
                errors.append(HandkitError(reel.damaged, fix))
            self.counts.left_out[FAILED] += len(errors)
            self.counts.errors += errors
            for error in errors:
                self.tools.on_error(error)

    def _shown_by_both(self, found: tuple[FoundInView, FoundInView], met: list[Met]) -> list[Met]:
        """Those of whose hand both pictures show the middle."""
        kept = [one for one in met if all(is_shown(s.detection, *s.size) for s in _sightings(found, one))]
        self.counts.left_out[NO_MATCH] -= len(met)
        self.counts.left_out[OUTSIDE] += len(met) - len(kept)
        self.counts.usable = len(kept)
        return kept

    def _unit_of(self, met: list[Met]) -> float:
        """Metres of the rig's unit: its own, else by the hands' palms."""
        found = unit_of_palms(np.stack([one.points for one in met]), self.tools.hands.model(is_right=True))
        if found is not None:
            return settle_unit(self.rig, found)
        if self.rig.unit_m is None:
            what = f"{self.unit.name}: no palm that both views see says how long the rig's unit is"
            raise HandkitError(what, "give its unit_m, the metres of one unit of T")
        return self.rig.unit_m

    def _patches(
        self,
        reels: tuple[Reel, Reel],
        views: ViewPair,
        found: tuple[FoundInView, FoundInView],
        met: list[Met],
        pairs: list[tuple[int, int]],
    ) -> Iterator[Patch]:
        """Of each hand the left patch and then the right one, frame by frame."""
        at: dict[int, list[Met]] = {}
        for one in met:
            at.setdefault(found[0].sightings[one.left].frame, []).append(one)
        wanted = [pair for pair in pairs if pair[0] in at]
        left, right = (looked_at(reel, view) for reel, view in zip(reels, views.views, strict=True))
        frames = self.tools.progress(paired_frames(left, right, wanted), f"{self.unit.name}: cutting", len(wanted))
        for pair in ahead(frames):
            for place, one in enumerate(at[pair[0].index]):
                known = self._known(reels, pair, found[0].sightings[one.left], place)
                for side, frame, sighting in zip(SIDES, pair, _sightings(found, one), strict=True):
                    yield cut_square(
                        frame.image,
                        sighting.detection,
                        sighting.K,
                        _room_around(sighting.detection, self.patch_px),
                        self.patch_px,
                        **{**known, "name": f"{known['name']}.{side}", "time_s": frame.time_s},
                    )

    def _known(self, reels: tuple[Reel, Reel], pair: tuple[Frame, Frame], hand: Sighting, place: int) -> dict[str, Any]:
        """Who a hand is: by its track in videos, by its place in a pair of stills."""
        files = [reel.path_of(frame.index) for reel, frame in zip(reels, pair, strict=True)]
        if self.unit.kind == "image":
            return {"name": f"{'+'.join(path.name for path in files)}_{place}", "frame": pair[0].index}
        frames = [f"{path.stem}_{frame.index:06d}" for path, frame in zip(files, pair, strict=True)]
        return {
            "name": f"{'+'.join(frames)}_{hand.track_id}",
            "sequence": f"{self.unit.name}/{hand.track_id}",
            "frame": pair[0].index,
        }

    def _nothing(self) -> HandkitError:
        what = f"{self.unit.name}: no hand that both views show; {self.counts.words()}"
        errors = self.counts.errors
        if errors:
            return HandkitError(f"{what}; the last error: {errors[-1].what}", errors[-1].fix)
        return HandkitError(what, "give views that both show a hand clearly, or lower the least score")


def _sightings(found: tuple[FoundInView, FoundInView], one: Met) -> tuple[Sighting, Sighting]:
    return found[0].sightings[one.left], found[1].sightings[one.right]


def _room_around(hand: HandDetection, patch_px: int) -> Float[np.ndarray, "4"]:
    """The square of a hand and what is about it.

    `CROP_SCALE` times its outline, as much as a crop of one and a half times its box turned about its middle needs.
    Where that is less than a patch, a patch of the picture's own pixels, so that they are copied as they are.
    """
    square = square_box(hand_box(hand.keypoints_2d, hand.keypoint_scores > 0), CROP_SCALE)
    if square[2] - square[0] > patch_px:
        return square
    corner = np.floor((square[:2] + square[2:] - patch_px) / 2)
    return np.concatenate([corner, corner + patch_px])
