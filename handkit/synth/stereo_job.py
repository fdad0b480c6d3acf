"""One run of `generate stereo`: what it was asked for, what its shards hold, and what is counted and shown of them.

A pair is one sample: `<index:06d>.left.jpg`, `.right.jpg` (or .png), `.left_mask.png`, `.right_mask.png`, `.hand.npz`.
`rig.json` beside the shards holds the cameras as `--rig` takes them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import cv2
import numpy as np
from jaxtyping import UInt8

from handkit.hand.model import load_hand
from handkit.images import write_image
from handkit.labels import HAND
from handkit.render.overlay import draw_skeleton
from handkit.synth.digest import sequence_digest
from handkit.synth.job import ShardJob
from handkit.synth.shards import encode_image, encode_npz
from handkit.synth.statistics import Counts
from handkit.synth.stereo import HandPair, StereoMaker, StereoRecipe

KIND: Final = "stereo"
RIG: Final = "rig.json"
# What two machines must agree on, and in which steps (see `handkit.synth.digest`).
STEPS: Final = {
    "theta": 1e-3,
    "beta": 1e-3,
    "global_orient": 1e-3,
    "transl": 1e-5,
    "joints_2d_left": 1e-2,
    "joints_2d_right": 1e-2,
    "joints_3d": 1e-5,
}
_SHOWN: Final = 6
_DEPTH_STEP_CM, _SIZE_STEP_PX = 5, 16


@dataclass(frozen=True, kw_only=True)
class StereoJob(ShardJob):
    """What all shards of a run share; `sequences` counts pairs."""

    kind: ClassVar[str] = KIND
    unit: ClassVar[str] = "pair"
    recipe: StereoRecipe

    @property
    def frames(self) -> int:
        return 2

    def make(self, *, show_progress: bool = False) -> StereoMaker:
        """Load hand and backgrounds."""
        return StereoMaker(
            self.recipe,
            seed=self.seed,
            split=self.split,
            hand=load_hand(self.hand_model),
            backgrounds=self.backgrounds,
        )

    def encode(self, maker: StereoMaker, item: HandPair) -> Iterator[tuple[str, bytes]]:
        """The names and bytes of all parts of a pair, in the order of a shard."""
        recipe = self.recipe
        pictures, masks = maker.render(item)
        for view, image in zip(("left", "right"), pictures, strict=True):
            encoded = encode_image(image, recipe.image_format, jpeg_quality=recipe.jpeg_quality)
            yield f"{item.key}.{view}.{recipe.image_format}", encoded
        for view, mask in zip(("left", "right"), masks, strict=True):
            yield f"{item.key}.{view}_mask.png", encode_image(mask, "png")
        yield f"{item.key}.hand.npz", encode_npz(item.annotations())

    def beside(self) -> dict[str, dict[str, Any]]:
        """The rig of the pairs."""
        return {RIG: self.recipe.camera().rig()}

    def digest(self, item: HandPair) -> str:
        """Hash of a pair's annotations."""
        return sequence_digest(item.annotations(), STEPS)

    def count(self, item: HandPair) -> Counts:
        """What `dataset.json` counts of a pair."""
        extent = np.ptp(item.camera.project(item.vertices)[:, :2], axis=0).max()
        return {
            "pairs_by_view": {"palm" if item.palm else "back": 1},
            "pairs_by_wrist_depth_cm": _step(100 * float(item.joints_3d[0, 2]), _DEPTH_STEP_CM),
            "pairs_by_hand_size_px": _step(float(extent), _SIZE_STEP_PX),
            "pairs_by_monk_tone": {str(item.monk): 1},
            "pairs_by_light": {"lit" if item.appearance.light is not None else "unlit": 1},
            "pairs_by_forearm": {item.forearm or "none": 1},
        }

    def preview(self, maker: StereoMaker) -> tuple[Path, ...]:
        """Write preview.png: the first pairs, what is known of them, and both views as an anaglyph."""
        rows = []
        for pair in maker.annotate_many(range(min(_SHOWN, self.sequences))):
            rows.append(show_pair(pair, *maker.render(pair)))
        write_image(self.out / "preview.png", np.concatenate(rows))
        return (self.out / "preview.png",)


def show_pair(
    pair: HandPair, pictures: UInt8[np.ndarray, "2 H W 3"], masks: UInt8[np.ndarray, "2 H W"]
) -> UInt8[np.ndarray, "H X 3"]:
    """Left, right, left with joints and the hand's outline, and red-cyan for glasses, beside each other.

    The right view is shifted by the disparity of the wrist, which so lies in the plane of the screen.
    """
    known = pair.annotations()
    drawn = pictures[0].copy()
    outline = cv2.findContours((masks[0] == HAND).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
    cv2.drawContours(drawn, outline, -1, (255, 255, 0), 1)
    draw_skeleton(drawn, known["joints_2d_left"])
    shift = round(float(known["joints_2d_left"][0, 0] - known["joints_2d_right"][0, 0]))
    moved = cv2.warpAffine(pictures[1], np.array([[1.0, 0, shift], [0, 1, 0]]), pictures.shape[2:0:-1])
    anaglyph = np.stack([pictures[0][..., 0], moved[..., 1], moved[..., 2]], axis=-1)
    return np.concatenate([*pictures, drawn, anaglyph], axis=1)


def _step(value: float, step: int) -> dict[str, int]:
    low = int(value // step) * step
    return {f"{low}-{low + step}": 1}
