"""Pairs gathered of known hands before two cameras, with the truth in the detector's place."""

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

import handkit.gather.pairs as pairs
from handkit.data.gathered_pairs import GatheredPairs
from handkit.demo.stereo.views import ViewPair, pair_views, read_stereo_rig
from handkit.detect.detection import HandDetection
from handkit.errors import HandkitError
from handkit.images import RgbImage
from tests.demo.two_views import SIZE, Scene, TrueHands


class SeveralHands:
    """The hands of several scenes in the same pictures; `looked` counts the pictures."""

    name, landmarks = "truth", "mediapipe"

    def __init__(self, sources: Sequence[TrueHands]) -> None:
        self.sources, self.looked = sources, 0

    def for_stills(self) -> "SeveralHands":
        return self

    @contextmanager
    def for_video(self, path: Path) -> Any:
        for source in self.sources:
            with source.for_video(path):
                pass
        yield self

    def find(self, image: RgbImage, frame: int, path: Path | None = None) -> list[HandDetection]:
        self.looked += 1
        return [hand for source in self.sources for hand in source.find(image, frame, path)]

    def close(self) -> None:
        pass


@dataclass
class Asked:
    """What was gathered, what was reported, and what the pictures were looked at with."""

    pairs: GatheredPairs
    errors: list[str]
    views: ViewPair
    hands: SeveralHands


@dataclass
class Gatherer:
    """Calls `gather_pairs` for two folders, pictures or videos of `scenes`; `out` is under `root`."""

    root: Path
    patch: Callable[..., None]
    errors: list[str] = field(default_factory=list)

    def __call__(
        self, left: Path, right: Path, rig: Path, *scenes: Scene, truth: dict[str, Any] | None = None, **options: Any
    ) -> Asked:
        """`truth` are options of `TrueHands`."""
        views = pair_views(read_stereo_rig(rig), (SIZE, SIZE))
        views = replace(views, unit_m=read_stereo_rig(rig).unit_m)
        files = [
            [str(p) for p in sorted(path.iterdir())] if path.is_dir() else [str(path), path.name]
            for path in (left, right)
        ]
        hands = SeveralHands([TrueHands(scene, views, (files[0], files[1]), **(truth or {})) for scene in scenes])
        self.patch(pairs, "SourceChoice", lambda _: hands)
        errors: list[str] = []
        self.errors = errors

        def told(error: HandkitError) -> None:
            errors.append(error.what)

        found = pairs.gather_pairs(left, right, rig, self.root / "out", on_error=told, **options)
        return Asked(found, errors, views, hands)


def moved(scene: Scene, shift: Sequence[float]) -> Scene:
    """The same hands elsewhere."""
    other = {name: scene.hands[name] + np.array(shift) for name in ("transl", "joints_3d")}
    return replace(scene, hands=scene.hands | other)
