"""Cutting hands out of pictures as demo does, and what a detector would have said of them.

Convention: pixels of pictures, those of left hands mirrored, pixel centres at +0.5. What comes out is in the table of
`handkit.data.handnet_batches`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypedDict, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import Required

from handkit.data.crop_sampling import sample_crops, shown_in_crops
from handkit.data.crops import JOINT_MARGIN
from handkit.data.handnet_targets import TARGET_KEYS, handnet_targets
from handkit.data.keypoint_noise import KeypointNoise, noisy_keypoints
from handkit.geometry.images import crop_transform, mirror_transform, rotate_transform, transform_points
from handkit.hand.model import HandModel

# Keys of the schema that rows of crops are made of.
ROW_KEYS: Final = (
    *TARGET_KEYS,
    *("image", "mask", "mask_valid", "bbox", "bbox_valid"),
    *("keypoints_2d", "keypoint_scores", "keypoints_2d_valid"),
)
Centre = Literal["box", "middle"]
CENTRES: Final[tuple[Centre, ...]] = get_args(Centre)
_MIDDLE: Final = 9
_BLUR_WIDTH: Final = 224
_OUTSIDE: Final = 0.5  # of a keypoint's score, where it lies outside the picture: as handkit.detect.mediapipe


class CropOptions(TypedDict, total=False):
    """What `CropSettings` takes."""

    size: Required[int]
    box_scale: float
    centre: Centre
    noise: KeypointNoise | None
    reposition: float
    rotate_deg: float
    scale_jitter: float
    blur: float
    want_image: bool


@dataclass(frozen=True, kw_only=True)
class CropSettings:
    """Crops of `size` px, `box_scale` times the longer side of the outline about the keypoints.

    `centre` "box" is that of the outline; "middle" the middle finger's root, about which the square of a `box_scale` of
    1 just holds the outline: the annotated joint, else the keypoint, else the outline's centre.
    `noise` is what keypoints are off by; without it they are the true joints, of score 1. Crops are varied at most by
    `reposition` (the share of the room beside the hand), `rotate_deg`, `scale_jitter` (the side is multiplied by
    1 - it up to its inverse) and `blur` (s.d. in 224ths of the crop; half of them have none). Without `want_image` a
    batch has neither image nor mask.
    """

    size: int
    box_scale: float = 1.5
    centre: Centre = "box"
    noise: KeypointNoise | None = None
    reposition: float = 0.0
    rotate_deg: float = 0.0
    scale_jitter: float = 0.0
    blur: float = 0.0
    want_image: bool = True


@dataclass(frozen=True, eq=False)
class Changes:
    """What was drawn for N crops, as shares of the most there is; `color` is what lies outside the picture.

    Where `has_edge` that is the colour of the nearest pixel.
    """

    turn: Float[Tensor, " N"]
    stretch: Float[Tensor, " N"]
    shift: Float[Tensor, "N 2"]
    blur: Float[Tensor, " N"]
    color: Float[Tensor, "N 3"]
    has_edge: Bool[Tensor, " N"]


def draw_changes(rng: np.random.Generator, count: int, own: NDArray[np.int64], device: torch.device) -> Changes:
    """Those of the `own` rows of `count`."""
    turn, stretch, x, y, blur = rng.uniform(-1, 1, (5, count))[:, own]
    color, edge = rng.integers(0, 256, (count, 3))[own], rng.random(count)[own] < 0.5
    drawn = (turn, stretch, np.stack([x, y], -1), blur.clip(0), color.astype(np.float64), edge)
    return Changes(*(torch.from_numpy(np.ascontiguousarray(each)).to(device) for each in drawn))


def no_changes(count: int, device: torch.device) -> Changes:
    """Centred and upright; black outside, as in demo."""
    none = torch.zeros(count, dtype=torch.float64, device=device)
    two, three = (none[:, None].expand(count, number) for number in (2, 3))
    return Changes(none, none, two, none, three, torch.zeros(count, dtype=torch.bool, device=device))


@dataclass(frozen=True, eq=False)
class Keypoints:
    """What is known of where N hands are, in pixels of the mirrored pictures."""

    points: Float[Tensor, "N 21 2"]
    scores: Float[Tensor, "N 21"]

    @property
    def seen(self) -> Bool[Tensor, "N 21"]:
        return self.scores > 0


def mirrors(rows: Mapping[str, Any]) -> Float[Tensor, "N 3 3"]:
    """The mirror of pictures of left hands, the identity of others."""
    is_right = rows["is_right"]
    width = torch.full((len(is_right),), float(rows["image"].shape[-1]), dtype=torch.float64, device=is_right.device)
    return torch.where(is_right[:, None, None], torch.eye(3).to(width), mirror_transform(width))


def find_keypoints(
    rows: Mapping[str, Any],
    mirror: Float[Tensor, "N 3 3"],
    noise: KeypointNoise | None,
    rng: np.random.Generator,
    count: int,
    own: NDArray[np.int64],
) -> Keypoints:
    """Keypoints of the `own` rows of `count`: drawn about true joints, those that came with the sample without any."""
    joints = transform_points(rows["joints_2d"].double(), mirror)
    valid = rows["joints_2d_valid"]
    if noise is None:
        points, scores = joints, valid.double()
    else:
        every = np.full((count, 21, 2), np.nan)
        every[own] = torch.where(valid[..., None], joints, torch.nan).cpu().numpy()
        drawn = noisy_keypoints(every, rng, noise)
        points, scores = (torch.from_numpy(each[own]).to(joints.device) for each in drawn)
        height, width = rows["image"].shape[-2:]
        inside = (points >= 0) & (points <= points.new_tensor([width, height]))
        scores = torch.where(inside.all(-1), scores, _OUTSIDE * scores)
    detected = ~valid.any(1) & rows["keypoints_2d_valid"]
    given = transform_points(rows["keypoints_2d"].double(), mirror)
    points = torch.where(detected[:, None, None], given, points)
    scores = torch.where(detected[:, None], rows["keypoint_scores"].double(), scores)
    return Keypoints(torch.where((scores > 0)[..., None], points, 0.0), scores)


def cut_crops(
    rows: Mapping[str, Any],
    mirror: Float[Tensor, "N 3 3"],
    found: Keypoints,
    changes: Changes,
    settings: CropSettings,
    *,
    hand: HandModel,
    is_own: Bool[Tensor, " N"],
) -> tuple[dict[str, Any], Float[Tensor, "N 3 3"]]:
    """The batch, but for `key`, and by which matrix each hand's points have moved in its camera's frame."""
    size = settings.size
    crop_from_mirrored = place_crops(rows, mirror, found, changes, settings)
    transform = crop_from_mirrored @ mirror
    points = torch.where(found.seen[..., None], transform_points(found.points, crop_from_mirrored) / size, 0.0)
    batch: dict[str, Any] = {"keypoints": points.float(), "keypoint_scores": found.scores.float()}
    targets, R = handnet_targets(rows, transform, size=size, hand=hand, is_own=is_own)
    pictures = _pictures(rows, transform, changes, settings) if settings.want_image else {}
    return {**batch, **targets, **pictures}, R


def place_crops(
    rows: Mapping[str, Any],
    mirror: Float[Tensor, "N 3 3"],
    found: Keypoints,
    changes: Changes,
    settings: CropSettings,
) -> Float[Tensor, "N 3 3"]:
    """From the mirrored pictures to the crops, as `handkit.inference.looks.square_around_joints` and then moved.

    About the middle finger's root as `square_about_point` there.
    """
    outline, shown = _outlines(rows, mirror, found)
    low, high = _box(outline, shown)
    pivot = (low + high) / 2
    turned = rotate_transform(torch.deg2rad(settings.rotate_deg * changes.turn), pivot)
    low, high = _box(transform_points(outline, turned), shown)
    margin = JOINT_MARGIN * (high - low).amax(-1, keepdim=True).clamp_min(1)
    low, high = low - margin, high + margin
    if settings.centre == "middle":
        middle = transform_points(_middles(rows, mirror, found, pivot)[:, None], turned)[:, 0]
        reach = torch.maximum((low - middle).abs(), (high - middle).abs())
        low, high = middle - reach, middle + reach
    side = settings.box_scale * (high - low).amax(-1).clamp_min(1)
    side = side * (1 - settings.scale_jitter) ** changes.stretch
    room = (side[:, None] - (high - low)).clamp_min(0) / 2
    centre = (low + high) / 2 + settings.reposition * changes.shift * room
    return crop_transform(centre, side, settings.size) @ turned


def _middles(
    rows: Mapping[str, Any], mirror: Float[Tensor, "N 3 3"], found: Keypoints, otherwise: Float[Tensor, "N 2"]
) -> Float[Tensor, "N 2"]:
    """Where the middle finger's root is in the mirrored pictures."""
    known, seen = rows["joints_2d_valid"][:, _MIDDLE, None], found.seen[:, _MIDDLE, None]
    joint = transform_points(rows["joints_2d"][:, [_MIDDLE]].double(), mirror)[:, 0]
    return torch.where(known, joint, torch.where(seen, found.points[:, _MIDDLE], otherwise))


def _outlines(
    rows: Mapping[str, Any], mirror: Float[Tensor, "N 3 3"], found: Keypoints
) -> tuple[Float[Tensor, "N 21 2"], Bool[Tensor, "N 21"]]:
    """Points whose box is the hand's, and which count: keypoints, or true joints, or corners of box or picture."""
    height, width = rows["image"].shape[-2:]
    whole = torch.tensor([0, 0, width, height], dtype=torch.float64, device=mirror.device)
    box = torch.where(rows["bbox_valid"][:, None], rows["bbox"].double(), whole)
    corners = transform_points(box.unflatten(-1, (2, 2)), mirror)
    points = corners[:, [0, 1] * 10 + [0]]
    shown = torch.ones_like(found.seen)
    joints = transform_points(rows["joints_2d"].double(), mirror)
    for better, counts in ((joints, rows["joints_2d_valid"]), (found.points, found.seen)):
        enough = counts.sum(1) > 1
        points = torch.where(enough[:, None, None], better, points)
        shown = torch.where(enough[:, None], counts, shown)
    return points, shown


def _box(points: Float[Tensor, "N P 2"], shown: Bool[Tensor, "N P"]) -> tuple[Tensor, Tensor]:
    hidden = ~shown[..., None]
    return points.masked_fill(hidden, torch.inf).amin(1), points.masked_fill(hidden, -torch.inf).amax(1)


def _pictures(
    rows: Mapping[str, Any], transform: Float[Tensor, "N 3 3"], changes: Changes, settings: CropSettings
) -> dict[str, Tensor]:
    """Image and mask."""
    size, (height, width) = settings.size, rows["image"].shape[-2:]
    blur = changes.blur * settings.blur * size / _BLUR_WIDTH
    image = sample_crops(rows["image"], transform, size, blur=blur)
    inside = shown_in_crops(transform, height, width, size)
    color = changes.color.to(torch.uint8)[..., None, None]
    image = torch.where(inside[:, None] | changes.has_edge[:, None, None, None], image, color)
    valid = rows["mask_valid"]
    shares = sample_crops(255 * rows["mask"][:, None], transform, size)[:, 0]
    mask = (shares >= 128) & inside & valid[:, None, None]
    return {"image": image, "mask": mask.to(torch.uint8), "mask_valid": valid}
