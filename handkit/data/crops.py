"""Square crops around the hands of any annotated data set, as networks take them.

Convention: a crop's side is `box_scale` times the longer side of the hand's box (SeqHAND, section 5: 2.2), the box that
of the mesh's outline. Readers without meshes have boxes of their joints: those are widened by `JOINT_MARGIN`, so that
a hand is as large in its crop whatever its annotations. What lies outside the picture is black in centred crops, as
in demo's; varied ones have a random colour there or the nearest pixel's, so that no frame tells where the hand is.
A pinhole sample keeps its K, moved; there is no exact weak camera for it. Its 3D points count from the camera: compare
them from a root, which is joint 0 in our order: the wrist, but the palm's centre where `root_is_palm`.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray

from handkit.data.annotations import AnnotatedDataset
from handkit.data.augment import (
    BLACK,
    Floats,
    Outside,
    apply_transform,
    ellipse_in,
    is_box_of,
    move_sample,
    skeleton_points,
)
from handkit.data.color_jitter import ColorJitter
from handkit.data.sample import HandSample
from handkit.detect.crop import CROP_SCALE, crop_from_image, square_box
from handkit.errors import HandkitError
from handkit.geometry.images import mirror_transform, rotate_transform

# The outline's longer side is 1.23 times that of the joints' box: median over 1200 generated hands (1.13 to 1.39 for
# nine in ten), which is this share of it beyond the joints on either side.
JOINT_MARGIN: Final = 0.115


class HandCrops:
    """Crops of `size` x `size` pixels of the `rows` of a data set, all of them unless told.

    Varied crops move the hand: `reposition` is the share of the room beside it that it may be shifted by, 1 anywhere
    that its box stays inside; `rotate_deg` the largest turn either way; the side is multiplied by 1 - `scale_jitter`
    up to its inverse; `color_jitter` changes colours. With `right_only` left hands are mirrored.
    """

    def __init__(
        self,
        dataset: AnnotatedDataset,
        *,
        size: int,
        box_scale: float = CROP_SCALE,
        reposition: float = 1.0,
        rotate_deg: float = 0.0,
        scale_jitter: float = 0.0,
        color_jitter: ColorJitter | None = None,
        right_only: bool = True,
        rows: Sequence[int] | NDArray[np.integer] | None = None,
    ) -> None:
        self.dataset, self.size = dataset, size
        self.box_scale, self.reposition, self.rotate_deg = box_scale, reposition, rotate_deg
        self.scale_jitter, self.color_jitter, self.right_only = scale_jitter, color_jitter, right_only
        self.rows = range(len(dataset)) if rows is None else np.asarray(rows)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def root_is_palm(self) -> bool:
        """Whether joint 0 is the palm's centre and not the wrist: STB's own labels, read with root_joint="palm"."""
        return getattr(self.dataset, "root_joint", None) == "palm"

    def crop(
        self, index: int, rng: np.random.Generator | None = None, *, box: Float[np.ndarray, "4"] | None = None
    ) -> HandSample:
        """One crop, centred without `rng`, else varied; `box` (x0, y0, x1, y1 px) in place of the annotated one.

        Raises HandkitError for a picture that cannot be read, and for one of which nothing says where the hand is.
        """
        sample = self.dataset[int(self.rows[index])]
        outline = hand_outline(sample) if box is None else ellipse_in(np.asarray(box, np.float64))
        placed = self._placed(sample, outline, rng)
        moved = move_sample(sample, placed, (self.size, self.size), outside=_draw_outside(rng))
        if rng is not None and self.color_jitter is not None:
            images = torch.from_numpy(moved["image"])[None]
            moved["image"] = self.color_jitter(images, int(rng.integers(2**32)), 0)[0].numpy()
        return moved

    def _placed(self, sample: HandSample, outline: Floats, rng: np.random.Generator | None) -> NDArray[np.float64]:
        """The change from the picture to the crop."""
        transform = np.eye(3)
        if self.right_only and not sample["is_right"]:
            width = torch.tensor(float(sample["image"].shape[-1]), dtype=torch.float64)
            transform = mirror_transform(width).numpy()
        turn, stretch, *shift = np.zeros(4) if rng is None else rng.uniform(-1, 1, 4)
        if turn:
            centre = torch.from_numpy(apply_transform(outline, transform).mean(0))
            angle = torch.tensor(np.radians(turn * self.rotate_deg), dtype=torch.float64)
            transform = rotate_transform(angle, centre).numpy() @ transform
        points = apply_transform(outline, transform)
        box = np.concatenate([points.min(0), points.max(0)])
        square = square_box(box, self.box_scale * (1 - self.scale_jitter) ** stretch)
        room = np.maximum(square[2:] - square[:2] - (box[2:] - box[:2]), 0) / 2
        square += np.tile(self.reposition * np.array(shift) * room, 2)
        return crop_from_image(square, self.size) @ transform


def _draw_outside(rng: np.random.Generator | None) -> Outside:
    if rng is None:
        return BLACK
    red, green, blue = rng.integers(0, 256, 3).tolist()
    return "edge" if rng.random() < 0.5 else (red, green, blue)


def hand_outline(sample: HandSample) -> Floats:
    """Pixels [N, 2] whose box is the hand's, also after a turn.

    The mesh's vertices; else the ellipse in `bbox`, unless that is a box of joints or keypoints; else circles about
    those, `JOINT_MARGIN` of their box's longer side in radius; else the ellipse in the mask's box.
    Raises HandkitError where there is nothing of these.
    """
    if sample["vertices_2d_valid"]:
        return sample["vertices_2d"]
    skeleton = skeleton_points(sample)
    if sample["bbox_valid"] and not is_box_of(sample["bbox"], skeleton):
        return ellipse_in(sample["bbox"].astype(np.float64))
    if len(skeleton) > 1:
        radius = JOINT_MARGIN * np.ptp(skeleton, axis=0).max()
        circle = ellipse_in(np.array([-radius, -radius, radius, radius]))
        return (skeleton[:, None] + circle).reshape(-1, 2)
    rows, columns = np.nonzero(sample["mask"])
    if not len(rows):
        what = f"{sample['dataset']}/{sample['name']}: nothing says where the hand is"
        raise HandkitError(what, "give pictures with joints, keypoints, boxes or masks")
    return ellipse_in(np.array([columns.min(), rows.min(), columns.max() + 1.0, rows.max() + 1.0]))
