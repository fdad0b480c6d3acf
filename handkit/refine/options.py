"""What a `refine` run was asked for; light enough to import before anything is computed."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from handkit import __version__
from handkit.demo.options import stamp_of

PARTS: Final = ("pose", "shape", "vertices", "camera")
SEGMENTERS: Final = ("auto", "handnet", "grabcut", "hsv")
SETTINGS: Final = ("default", "published-sums")
# The terms whose weights can be set, and of these the one that is never off.
TERMS: Final = (
    "silhouette",
    "silhouette_coarse",
    "keypoints",
    "vertex_offset",
    "laplacian",
    "laplacian_of_offsets",
    "normal",
    "edge",
    "pose_offset",
    "shape_offset",
    "joint_offset",
)
# They say where to compute, and where the pictures and weights are whose content the fingerprint is given.
_NOT_RESULTS: Final = ("device", "images", "checkpoint")


@dataclass(frozen=True, kw_only=True)
class RefineOptions:
    """Options of one run, the same for all its predictions.

    images: a file or folder to look for the pictures in, instead of where the predictions say. rig: the cameras, where
    the predictions are their views. masks: a folder of mask files; without one the segmenter makes them, "auto" being
    HandNet of `checkpoint`, or of the usual weights where there are some, else GrabCut. weights: changes to the
    setting's, None for off. rotate: degrees clockwise, as the predictions were made with. texture_share: how much of
    each new frame enters the texture.
    """

    images: Path | None = None
    rig: Path | None = None
    masks: Path | None = None
    segmenter: str = "auto"
    checkpoint: Path | None = None
    free: tuple[str, ...] = PARTS
    iterations: int = 10
    settings: str = "default"
    weights: dict[str, float | None] = field(default_factory=dict)
    rotate: int = 0
    overlay: bool = True
    convergence: bool = False
    vertices: bool = False
    texture: bool = False
    texture_share: float = 0.5
    device: str = "auto"

    def to_json(self) -> dict[str, object]:
        """Plain values for `summary.json`."""
        return {key: str(value) if isinstance(value, Path) else value for key, value in asdict(self).items()}

    def fingerprint(self, files: Iterable[Path]) -> str:
        """Changes whenever results could: options, rig, masks, the weights' content, handkit's version, given files."""
        asked = {key: value for key, value in self.to_json().items() if key not in _NOT_RESULTS}
        inside = sorted(path for path in self.masks.rglob("*") if path.is_file()) if self.masks else []
        named = [*files, *([self.rig] if self.rig else []), *inside]
        stamps = [[str(path.resolve()), *stamp_of(path)] for path in named]
        weights = hashlib.sha256(self.checkpoint.read_bytes()).hexdigest() if self.checkpoint else None
        text = json.dumps([__version__, asked, stamps, weights], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]
