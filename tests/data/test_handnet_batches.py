from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch

from handkit.data.handnet_batches import HandCropBatches
from handkit.data.keypoint_noise import KeypointNoise
from handkit.data.sample import HandSample
from handkit.detect.detection import box_around
from handkit.geometry.cameras import project
from handkit.geometry.rotations import ray_from_axis
from handkit.hand.weak import WeakPoseLayer
from handkit.inference.looks import look_at, square_around_joints
from handkit.train import Place
from tests.data.handnet_samples import HEIGHT, MARKED, WIDTH, Samples, centre_of, pinhole, weak
from tests.data.posing import HANDS

SIZE = 128
HAND = HANDS["right"]
MOVED: dict[str, Any] = {"reposition": 0.7, "rotate_deg": 120.0, "scale_jitter": 0.2}
MAKERS = {"weak": weak, "pinhole": pinhole}
KINDS = [(kind, side) for kind in MAKERS for side in ("right", "left")]


def several(kind: str, side: str, count: int = 6) -> list[HandSample]:
    return [MAKERS[kind](seed, side) for seed in range(count)]


def crops(samples: list[HandSample], *, batch: int | None = None, frames: int = 1, **options: Any) -> HandCropBatches:
    source = Samples(samples, batch or len(samples) // frames, frames)
    return HandCropBatches(source, HAND, **{"size": SIZE, "seed": 3, **options})


def first(batches: HandCropBatches, count: int = 1, start: int = 0, place: Place | None = None) -> list[dict[str, Any]]:
    return list(islice(batches.batches(start, place or Place()), count))


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for key, value in one.items():
        same = torch.equal(value, other[key]) if isinstance(value, torch.Tensor) else value == other[key]
        assert same, key


def in_camera(batch: dict[str, Any], name: str) -> torch.Tensor:
    """Points of crop axes in the camera of the crop."""
    return batch[name] @ ray_from_axis(batch["wrist"]).mT + batch["wrist"][:, None]


def weak_camera(batch: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """The weak camera [N, 3] that shows 3D joints best, and by how much it misses [N, 21, 2], widths."""
    flat, seen = batch["joints_3d"][..., :2], batch["joints_2d"] - batch["joints_2d"][:, :1]
    scale = (flat * seen).sum((1, 2)) / (flat * flat).sum((1, 2))
    camera = torch.cat([scale[:, None], batch["joints_2d"][:, 0] - 0.5], 1)
    return camera, scale[:, None, None] * flat - seen


@pytest.mark.parametrize(("kind", "side"), KINDS)
def test_joints_follow_the_picture(kind: str, side: str) -> None:
    for batch in first(crops(several(kind, side), **MOVED), 3):
        for key in ("joints_2d", "joints_3d", "vertices", "pose", "betas"):
            assert batch[f"{key}_valid"].all()
        assert batch["K_valid"].all() == (kind == "pinhole")
        assert not batch["joints_3d"][:, 0].any()
        camera, missed = weak_camera(batch)
        assert (camera[:, 0] > 0).all()
        if kind == "weak":
            assert missed.abs().max() < 1e-5
            assert not batch["wrist"].any()
        else:
            assert missed.abs().max() > 1e-4  # a perspective hand is no weak one
            uv = project(in_camera(batch, "joints_3d"), batch["K"])
            torch.testing.assert_close(uv / SIZE, batch["joints_2d"], atol=1e-5, rtol=0)
        for image, mask, joints in zip(batch["image"], batch["mask"], batch["joints_2d"], strict=True):
            spot = SIZE * joints[MARKED].numpy()
            if (spot < 15).any() or (spot > SIZE - 15).any():
                continue
            np.testing.assert_allclose(centre_of(image[0].numpy()), spot, atol=0.3)
            np.testing.assert_allclose(centre_of(mask.numpy()), spot, atol=0.5)


@pytest.mark.parametrize(("kind", "side"), KINDS)
def test_parameters_make_the_hand(kind: str, side: str) -> None:
    """Of right hands, whatever the side in the picture."""
    for batch in first(crops(several(kind, side), **MOVED), 2):
        camera, _ = weak_camera(batch)
        made = WeakPoseLayer(HAND)(pose=batch["pose"], betas=batch["betas"], camera=camera)
        torch.testing.assert_close(made.joints, batch["joints_3d"], atol=1e-5, rtol=0)
        torch.testing.assert_close(made.vertices, batch["vertices"], atol=1e-5, rtol=0)
        if kind == "weak":
            torch.testing.assert_close(made.joints_2d, batch["joints_2d"], atol=1e-5, rtol=0)


def test_a_mirrored_picture_of_a_left_hand_is_one_of_a_right_hand() -> None:
    """Crops of a left hand are those of the mirror image, in which all is a right hand's."""
    left = pinhole(0, "left", transl_valid=False, transl=np.zeros(3))
    mirror = np.array([-1.0, 1, 1])
    other = {
        **left,
        "is_right": np.array(True),
        "image": left["image"][..., ::-1].copy(),
        "mask": left["mask"][:, ::-1].copy(),
        "joints_2d": left["joints_2d"] * [-1, 1] + [WIDTH, 0],
        "joints_3d": left["joints_3d"] * mirror,
        "vertices": left["vertices"] * mirror,
        "global_orient": left["global_orient"] * -mirror,
        "hand_pose": (left["hand_pose"].reshape(15, 3) * -mirror).ravel(),
        "K": left["K"] * [[1, 1, 0], [1, 1, 1], [1, 1, 1]] + [[0, 0, WIDTH - left["K"][0, 2]], [0] * 3, [0] * 3],
    }
    wanted = {
        key: np.asarray(value, left[key].dtype) if hasattr(value, "dtype") else value for key, value in other.items()
    }
    noise = KeypointNoise(missing=0.0)
    (one,), (two,) = (first(crops([sample], noise=noise, **MOVED)) for sample in (left, wanted))
    for key, value in one.items():
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            torch.testing.assert_close(value, two[key], atol=1e-4, rtol=1e-5)
    # OpenCV reads pictures at 32nds of a pixel, which a mirror rounds the other way.
    apart = (one["image"].int() - two["image"].int()).abs()
    assert apart.max() <= 6
    assert apart.float().mean() < 0.3


def test_crops_are_cut_as_demo_cuts_them() -> None:
    noise = KeypointNoise(missing=0.0)
    samples = [make(seed, side) for seed in range(2) for make in MAKERS.values() for side in ("right", "left")]
    (batch,) = crops(samples, noise=noise, box_scale=1.4).fixed(len(samples), len(samples), Place())
    for row, sample in enumerate(samples):
        image = np.ascontiguousarray(sample["image"].transpose(1, 2, 0))
        is_right = bool(sample["is_right"])
        # the crop's own joints say where it lies
        joints, inside = sample["joints_2d"].astype(np.float64), batch["joints_2d"][row].double().numpy()
        if not is_right:
            inside = inside * [-1, 1] + [1, 0]
        side_px = np.ptp(joints, axis=0).max() / np.ptp(inside, axis=0).max()
        corner = (joints - side_px * inside).mean(0)
        found = batch["keypoints"][row].double().numpy()
        found = corner + side_px * (found if is_right else found * [-1, 1] + [1, 0])
        square = square_around_joints(box_around(found), 1.4)
        np.testing.assert_allclose(square, [*corner, *(corner + side_px)], atol=1e-3)
        look = look_at(image, square, SIZE, is_right=is_right)
        shown = batch["image"][row].permute(1, 2, 0).numpy()
        # OpenCV reads at 32nds of a pixel: of 255 at an edge that is 8
        assert np.abs(shown.astype(int) - look.crop).max() <= 9


def test_keypoints_are_where_the_noise_puts_them() -> None:
    samples = [make(seed, side) for seed in range(3) for make in MAKERS.values() for side in ("right", "left")]
    (exact,) = first(crops(samples, **MOVED))
    torch.testing.assert_close(exact["keypoints"], exact["joints_2d"])
    assert (exact["keypoint_scores"] == 1).all()
    noise = KeypointNoise(missing=0.5)
    (batch,) = first(crops(samples, noise=noise, **MOVED))
    seen = batch["keypoint_scores"] > 0
    assert not batch["keypoints"][~seen].any()
    assert set(seen.sum(1).tolist()) == {0, 21}
    apart = (batch["keypoints"] - batch["joints_2d"]).norm(dim=-1)[seen]
    size = (batch["joints_2d"].amax(1) - batch["joints_2d"].amin(1)).amax(1)
    assert 0.01 < apart.mean() / size.mean() < 0.15
    # hands without keypoints are where their joints are
    without = batch["joints_2d"][~seen.any(1)]
    assert ((without > 0) & (without < 1)).all()


def test_scores_outside_the_picture_are_half() -> None:
    sample = weak(0)
    shifted = {**sample, "joints_2d": sample["joints_2d"] - np.float32([WIDTH / 2, 0])}
    noise = KeypointNoise(missing=0.0, single=1.0)
    (batch,) = first(crops([shifted], noise=noise))
    low, high = batch["keypoint_scores"].unique().tolist()
    assert low == pytest.approx(high / 2)
    assert ((batch["keypoint_scores"][0] == low).numpy() == (shifted["joints_2d"][:, 0] < 0)).mean() > 0.8


def test_a_number_gives_the_same_batch() -> None:
    samples = [*several("weak", "right"), *several("pinhole", "left")]
    options: dict[str, Any] = {"batch": 4, "noise": KeypointNoise(missing=0.3), "blur": 3.0, **MOVED}
    whole = first(crops(samples, **options), 4)
    (later,) = first(crops(samples, **options), 1, start=3)
    assert_same(whole[3], later)
    halves = [first(crops(samples, **options), 1, 3, Place(rank, 2))[0] for rank in (0, 1)]
    for rank, half in enumerate(halves):
        assert_same(half, {key: value[2 * rank : 2 * rank + 2] for key, value in later.items()})
    (other,) = first(crops(samples, **{**options, "seed": 4}), 1, start=3)
    assert not torch.equal(other["joints_2d"], later["joints_2d"])
    assert not torch.equal(whole[0]["joints_2d"], whole[3]["joints_2d"])


def test_fixed_batches_are_the_first_hands() -> None:
    samples = several("weak", "right", 5)
    batches = crops(samples, batch=2, noise=KeypointNoise(), **MOVED)
    made = batches.fixed(5, 3, Place())
    assert [batch["key"] for batch in made] == [[f"sequence/{n}" for n in part] for part in ((0, 1, 2), (3, 4))]
    shares = [batches.fixed(5, 3, Place(rank, 2)) for rank in (0, 1)]
    assert_same(shares[0][0], made[0])
    assert_same(shares[1][0], made[1])
    upright = torch.cat([batch["joints_3d"] for batch in made])
    alone = torch.from_numpy(np.stack([sample["joints_3d"] - sample["joints_3d"][0] for sample in samples]))
    torch.testing.assert_close(upright, alone, atol=1e-6, rtol=0)


def test_crops_about_the_middle_finger_s_root() -> None:
    """Also turned ones; all of the hand is inside, and a larger side makes it smaller."""
    samples = several("pinhole", "right") + several("pinhole", "left")
    (near,) = first(crops(samples, centre="middle", rotate_deg=90.0, box_scale=1.0))
    torch.testing.assert_close(near["joints_2d"][:, 9], torch.full((12, 2), 0.5), atol=1e-6, rtol=0)
    reach = (near["joints_2d"] - 0.5).abs().flatten(1).amax(1)
    assert (reach < 0.5).all()
    assert (reach > 0.4).all()
    (far,) = first(crops(samples, centre="middle", rotate_deg=90.0, box_scale=2.0))
    torch.testing.assert_close(far["joints_2d"] - 0.5, (near["joints_2d"] - 0.5) / 2, atol=1e-6, rtol=0)


def test_sequences_become_rows() -> None:
    samples = several("weak", "right", 6)
    (batch,) = first(crops(samples, frames=3, want_image=False))
    assert batch["key"] == [f"sequence/{number}/{frame:03d}" for number in range(2) for frame in range(3)]
    betas = torch.from_numpy(np.stack([sample["betas"] for sample in samples]))
    torch.testing.assert_close(batch["betas"], betas)
    assert not {"image", "mask", "mask_valid"} & batch.keys()


def test_what_is_not_known_is_left_out() -> None:
    strange = pinhole(0, hand_model="mano")
    bare = {**pinhole(1), **{key: np.asarray(False) for key in ("mask_valid", "vertices_valid", "K_valid")}}
    bare |= {"mask": 0 * bare["mask"], "vertices": 0 * bare["vertices"], "K": 0 * bare["K"]}
    rootless = pinhole(2)
    valid = np.arange(21) > 0
    rootless = {**rootless, "joints_3d_valid": valid, "joints_3d": rootless["joints_3d"] * np.float32(valid[:, None])}
    (batch,) = first(crops([strange, bare, rootless], **MOVED))
    assert batch["pose_valid"].tolist() == batch["betas_valid"].tolist() == [False, True, True]
    assert not batch["pose"][0].any()
    assert batch["mask_valid"].tolist() == [True, False, True]
    assert batch["K_valid"].tolist() == [True, False, False]
    assert batch["K"].flatten(1).any(1).tolist() == [True, False, True]
    assert not batch["wrist"][1:].any()
    assert batch["joints_3d_valid"].all(1).tolist() == [True, True, False]
    assert not batch["joints_3d_valid"][2].any()
    assert not batch["vertices_valid"].any()
    (known,) = first(crops([strange, pinhole(1), rootless], **MOVED))
    torch.testing.assert_close(batch["joints_3d"][1], known["joints_3d"][1])  # counted from a camera without its K


def test_a_palm_s_centre_is_no_wrist() -> None:
    source = Samples(several("pinhole", "right", 2), 2)

    class Palms:
        def batches(self, start: int, place: Place) -> Any:
            for batch in source.batches(start, place):
                yield {**batch, "root_is_palm": torch.tensor([[True], [False]])}

    (batch,) = first(HandCropBatches(Palms(), HAND, size=SIZE))
    assert batch["joints_3d_valid"].any(1).tolist() == [False, True]
    assert batch["joints_2d_valid"].sum(1).tolist() == [20, 21]
    assert batch["keypoint_scores"].bool().sum(1).tolist() == [20, 21]


def test_hands_without_joints_are_cut_about_what_is_known() -> None:
    nothing = {"joints_2d": np.zeros((21, 2), np.float32), "joints_2d_valid": np.zeros(21, bool)}
    sample = weak(0)
    points = sample["joints_2d"] + np.float32(1)
    detected = {**sample, **nothing, "keypoints_2d": points, "keypoint_scores": np.full(21, 0.5, np.float32)}
    detected["keypoints_2d_valid"] = np.array(True)
    boxed = {**sample, **nothing, "bbox": np.float32([300, 250, 450, 470]), "bbox_valid": np.array(True)}
    (batch,) = first(crops([detected, boxed, {**sample, **nothing}], noise=KeypointNoise(missing=0.0)))
    assert (batch["keypoint_scores"][0] == 0.5).all()
    assert not batch["keypoint_scores"][1:].any()
    extent = batch["keypoints"][0].amax(0) - batch["keypoints"][0].amin(0)
    assert extent.max() == pytest.approx(1 / (1.5 * 1.23), rel=1e-4)
    assert not batch["joints_2d_valid"].any()
    assert all(batch["image"][row].any() for row in range(3))


def edges(batch: dict[str, Any]) -> torch.Tensor:
    """The colours of the crops' corners [N, 4, 3]."""
    ends = [0, -1]
    return torch.stack([batch["image"][:, :, row, column] for row in ends for column in ends], 1)


def test_what_lies_outside_the_picture_is_black_or_any_colour() -> None:
    samples = [{**weak(seed), "image": np.full((3, HEIGHT, WIDTH), 77, np.uint8)} for seed in range(12)]
    wide: dict[str, Any] = {"box_scale": 12.0}
    (still,) = crops(samples, **wide).fixed(12, 12, Place())
    assert not edges(still).any()
    (varied,) = first(crops(samples, **wide))
    colors = edges(varied)
    assert (colors == colors[:, :1]).all()
    nearest = (colors == 77).all(-1).all(-1)
    assert 0 < nearest.sum() < 12
    assert len({tuple(color) for color in colors[~nearest, 0].tolist()}) == int((~nearest).sum())
    assert not varied["mask"][:, 0, 0].any()


def test_blur_is_in_shares_of_the_crop() -> None:
    """Half of the crops are blurred, as much at any size."""
    samples = [weak(7)] * 16

    def sharpness(size: int, blur: float) -> np.ndarray:
        (batch,) = first(crops(samples, size=size, blur=blur))
        wide = torch.nn.functional.interpolate(batch["image"].float(), (64, 64), mode="area")
        return wide.flatten(1).amax(1).numpy()

    small, large = sharpness(128, 12.0), sharpness(256, 12.0)
    np.testing.assert_allclose(small, large, atol=12)
    blurred = small < sharpness(128, 0.0) - 2
    assert 3 <= blurred.sum() <= 13


@pytest.mark.parametrize("make", [weak, pinhole])
def test_a_marked_joint_is_found_through_the_keypoint_box(make: Callable[[int], HandSample]) -> None:
    """Also where keypoints are far off, and the crop with them."""
    noise = KeypointNoise(missing=0.0, shift=0.1)
    (batch,) = first(crops([make(seed) for seed in range(6)], noise=noise, **MOVED))
    near = 0
    for image, joints in zip(batch["image"], batch["joints_2d"], strict=True):
        spot = SIZE * joints[MARKED].numpy()
        if (spot > 15).all() and (spot < SIZE - 15).all():
            np.testing.assert_allclose(centre_of(image[0].numpy()), spot, atol=0.3)
            near += 1
    assert near > 2
