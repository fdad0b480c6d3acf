"""What a `refine` run was asked for; light enough to import before anything is computed."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

PARTS: Final = ("pose", "shape", "vertices", "camera")
SEGMENTERS: Final = ("grabcut", "hsv")
SETTINGS: Final = ("default", "published-sums")
# The terms whose weights can be set, and of these the one that is never off.
TERMS: Final = (
    "silhouette",
    "keypoints",
    "vertex_offset",
    "laplacian",
    "laplacian_of_offsets",
    "normal",
    "edge",
    "pose_offset",
    "shape_offset",
)


@dataclass(frozen=True, kw_only=True)
class RefineOptions:
    """Options of one run, the same for all its predictions.

    images: a file or folder to look for the pictures in, instead of where the predictions say. masks: a folder of mask
    files; without one the segmenter makes them. weights: changes to the setting's, None for off. rotate: degrees
    clockwise, as the predictions were made with. texture_share: how much of each new frame enters the texture.
    """

    images: Path | None = None
    masks: Path | None = None
    segmenter: str = "grabcut"
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
