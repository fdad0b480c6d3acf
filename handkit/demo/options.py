"""What a `demo` run was asked for; light enough to import before anything is computed."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from handkit import __version__

METHODS: Final = ("fit", "seqhand", "s2hand", "handnet", "binocular")
# Those of the methods that see both views of `stereo` at once, those of them that see nothing else, and how HandNet
# places a hand from them.
PAIR_METHODS: Final = ("handnet", "binocular")
ONLY_PAIRS: Final = ("binocular",)
STEREO_CAMERAS: Final = ("average", "triangulated")
KEYPOINT_SOURCES: Final = ("mediapipe", "hourglass")
EXPORT_FORMATS: Final = ("obj", "ply", "glb", "json")
ROTATIONS: Final = (0, 90, 180, 270)

# They change no result of an input: the seed changes the built-in clip itself, the views of a pair are inputs.
_NOT_RESULTS: Final = ("device", "seed", "duration", "stereo")


@dataclass(frozen=True, kw_only=True)
class DemoOptions:
    """Options of one run, the same for all its inputs.

    start, end: seconds of a video. stride: every n-th frame. rotate: degrees clockwise before anything else; cameras,
    boxes and keypoints given by the user are those of the turned image. K: fx, fy, cx, cy in pixels. duration: seconds
    of webcam. smooth: strength of the temporal term, 0 for none. method: one of `METHODS`. keypoint_source: one of
    `KEYPOINT_SOURCES`. checkpoint: the file of the network, else of the 2D estimator; None for the shipped one.
    keypoint_checkpoint: that of the 2D estimator beside another network's; see `estimator_checkpoint`.
    refine_keypoints: whether the fit follows the network. stereo: the left and the right view, through the cameras of
    the file `rig`; stereo_camera: one of `STEREO_CAMERAS`, of handnet.
    """

    max_hands: int = 2
    hands: str = "both"
    min_score: float = 0.5
    start: float = 0.0
    end: float | None = None
    stride: int = 1
    rotate: int = 0
    duration: float | None = None
    bbox: Path | None = None
    keypoints: Path | None = None
    keypoint_source: str = "mediapipe"
    K: tuple[float, float, float, float] | None = None
    focal: float | None = None
    camera: Path | None = None
    smooth: float = 1.0
    hand_model: str = "open"
    method: str = "fit"
    checkpoint: Path | None = None
    keypoint_checkpoint: Path | None = None
    refine_keypoints: bool = False
    overlay: bool = True
    side_view: bool = False
    export: tuple[str, ...] = ()
    vertices: bool = False
    device: str = "auto"
    seed: int = 0
    stereo: tuple[Path, Path] | None = None
    rig: Path | None = None
    stereo_camera: str = "average"

    @property
    def estimator_checkpoint(self) -> Path | None:
        """The file or folder of the 2D estimator: its own, else the `checkpoint` of a method that has one with it."""
        has_one = self.method in ("fit", "s2hand")
        return self.keypoint_checkpoint or (self.checkpoint if has_one else None)

    def to_json(self) -> dict[str, object]:
        """Plain values for `summary.json`."""
        values = asdict(self)
        if self.stereo is not None:
            values["stereo"] = [str(path) for path in self.stereo]
        return {key: str(value) if isinstance(value, Path) else value for key, value in values.items()}

    def fingerprint(self) -> str:
        """Changes whenever results could: options, the files they name, handkit's version."""
        asked = {key: value for key, value in self.to_json().items() if key not in _NOT_RESULTS}
        named = [
            self.bbox,
            self.keypoints,
            self.camera,
            self.checkpoint,
            self.keypoint_checkpoint,
            self.rig,
            Path(self.hand_model),
        ]
        stamps = [stamp for path in named if path is not None for stamp in stamps_of(path)]
        text = json.dumps([__version__, asked, stamps], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def stamp_of(path: Path) -> list[int]:
    """[size, mtime in ns]: enough to see that a file was replaced."""
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]


def stamps_of(path: Path) -> list[list[str | int]]:
    """[name, size, mtime in ns] of a file, or of every file below a folder; nothing where there is none."""
    if path.is_dir():
        files = [file for file in sorted(path.rglob("*")) if file.is_file()]
        return [[file.relative_to(path).as_posix(), *stamp_of(file)] for file in files]
    return [[path.name, *stamp_of(path)]] if path.is_file() else []
