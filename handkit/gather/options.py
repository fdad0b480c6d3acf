"""What hands are gathered from, and how; light enough to import before anything is computed."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from handkit import __version__
from handkit.demo.options import stamps_of

DETECTORS: Final = ("mediapipe",)
SIDES: Final = ("both", "right", "left")


@dataclass(frozen=True, kw_only=True)
class GatherOptions:
    """Options of all sources.

    source: the detector, one of `DETECTORS`. keypoints: OpenPose's JSON files or an array, in place of the detector.
    patch_px: the largest side of a patch; none is enlarged. K: fx, fy, cx, cy in pixels; focal: pixels; camera: a file
    or folder of cameras by name; without them EXIF, else the default field of view.
    """

    source: str = "mediapipe"
    keypoints: Path | None = None
    hands: str = "both"
    max_hands: int = 2
    min_score: float = 0.5
    patch_px: int = 320
    K: tuple[float, float, float, float] | None = None
    focal: float | None = None
    camera: Path | None = None

    def fingerprint(self) -> list[Any]:
        """Changes whenever patches could: options, the files they name, handkit's version."""
        asked = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(self).items()}
        return [__version__, asked, [stamps_of(path) for path in (self.keypoints, self.camera) if path is not None]]


@dataclass(frozen=True, kw_only=True)
class NamedDataset:
    """A data set of `handkit.data.registry`; without `split` the part that is learned from."""

    name: str
    root: Path
    split: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


Source = str | Path | NamedDataset  # an image, a video, a folder of both, or a data set


def hash_of(*decisive: Any) -> str:
    """A file's name by what decides its content."""
    return hashlib.sha256(json.dumps(decisive, sort_keys=True, default=str).encode()).hexdigest()[:20]
