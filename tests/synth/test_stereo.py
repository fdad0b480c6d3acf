"""Stereo pairs: geometry against first principles, pictures against the hard rasteriser."""

from functools import lru_cache

import cv2
import numpy as np
import pytest
import torch

from handkit.errors import HandkitError
from handkit.hand import ManoLayer, load_hand
from handkit.hand.limits import LIMITS_DEG, joint_frames, pose_to_angles
from handkit.hand.model import HandModel
from handkit.labels import FOREARM, HAND
from handkit.recipe import load_recipe
from handkit.render.hard import rasterize
from handkit.synth.penetration import penetration
from handkit.synth.stereo import HandPair, StereoMaker, StereoRecipe
from handkit.synth.stereo_scene import StereoCamera, Wall, patch_size, sample_hold, show_wall

OPEN = load_hand("open")
SMALL = ("width=320", "height=180", "supersample=1")


def make(*changes: str, seed: int = 0, split: str = "train", hand: HandModel = OPEN) -> StereoMaker:
    return StereoMaker(load_recipe(StereoRecipe, "stereo", changes), seed=seed, split=split, hand=hand)


@lru_cache(maxsize=1)
def pairs() -> list[HandPair]:
    return list(make().annotate_many(range(120)))


def test_the_default_camera_is_the_zeds() -> None:
    camera = load_recipe(StereoRecipe, "stereo", ["width=1280", "height=720"]).camera()
    assert (camera.focal_px, camera.baseline_m) == (700.0, 0.12)
    np.testing.assert_array_equal(camera.K, [[700, 0, 640], [0, 700, 360], [0, 0, 1]])


def test_both_views_are_the_pinhole_projections_and_rectified() -> None:
    for pair in pairs():
        known = pair.annotations()
        focal, baseline = known["K_left"][0, 0], 0.12
        for view in ("left", "right"):
            Rt, K = known[f"Rt_{view}"].astype(float), known[f"K_{view}"].astype(float)
            pixels = (known["joints_3d"].astype(float) @ Rt[:, :3].T + Rt[:, 3]) @ K.T
            np.testing.assert_allclose(pixels[:, :2] / pixels[:, 2:], known[f"joints_2d_{view}"], atol=1e-3)
        left, right = known["joints_2d_left"], known["joints_2d_right"]
        np.testing.assert_allclose(left[:, 1], right[:, 1], atol=1e-3)
        np.testing.assert_allclose(left[:, 0] - right[:, 0], focal * baseline / known["joints_3d"][:, 2], atol=1e-3)


def test_the_layer_rebuilds_what_is_recorded() -> None:
    by_components, by_angles = ManoLayer(OPEN, num_pca=6, flat_hand_mean=False), ManoLayer(OPEN)
    for pair in pairs()[:20]:
        known = {key: torch.from_numpy(value) for key, value in pair.annotations().items()}
        rest = {"betas": known["beta"], "global_orient": known["global_orient"], "transl": known["transl"]}
        for layer, pose in ((by_components, known["theta"]), (by_angles, known["hand_pose"])):
            rebuilt = layer(hand_pose=pose, **rest)
            np.testing.assert_allclose(rebuilt.vertices, pair.vertices, atol=2e-6)
            np.testing.assert_allclose(rebuilt.joints, pair.joints_3d, atol=2e-6)


def test_the_wrist_is_on_the_left_axis_or_midway() -> None:
    for pair in pairs():
        np.testing.assert_allclose(pair.joints_3d[0, :2], 0, atol=1e-6)
        assert 0.3 <= pair.joints_3d[0, 2] <= 0.7
    midway = make("root_on=rig").annotate(3).annotations()
    np.testing.assert_allclose(midway["joints_2d_left"][0] + midway["joints_2d_right"][0], [640, 360], atol=1e-3)


def test_hands_are_whole_in_both_pictures() -> None:
    for pair in pairs():
        for points in (pair.vertices, pair.camera.to_right(pair.vertices)):
            pixels = pair.camera.project(points)[:, :2]
            assert pixels.min() >= 0
            assert (pixels <= [640, 360]).all()


def test_palms_are_as_frequent_as_backs_and_say_so() -> None:
    towards = []
    for pair in pairs():
        wrist, index, little = pair.joints_3d[[0, 5, 17]]
        palm_normal = np.cross(index - wrist, little - wrist)  # of a right hand
        assert (palm_normal @ -wrist > 0) == pair.palm
        towards.append(pair.palm)
    assert 40 <= sum(towards) <= 80  # 120 fair coins: beyond once in 5,000
    assert all(pair.palm for pair in make("palms=1").annotate_many(range(10)))


def test_an_owner_sees_the_forearm_come_from_below() -> None:
    rng = np.random.default_rng(0)
    right = [sample_hold(rng, side="right", palm=True) for _ in range(300)]
    left = [sample_hold(rng, side="left", palm=False) for _ in range(300)]
    for hold in (*right, *left):
        np.testing.assert_allclose(hold.rotation @ hold.rotation.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(hold.rotation) > 0
    sideways = [np.mean([hold.forearm[0] for hold in holds]) for holds in (right, left)]
    assert sideways[0] > 0.1
    assert sideways[1] < -0.1
    assert np.mean([hold.forearm[1] for hold in right]) > 0.5
    assert all((hold.rotation @ [0, -1, 0])[2] < 0 for hold in right)  # the palm, -y at rest, towards the camera
    assert all((hold.rotation @ [0, -1, 0])[2] > 0 for hold in left)


def test_poses_are_possible() -> None:
    poses = torch.from_numpy(np.stack([pair.hand_pose for pair in pairs()])).double()
    angles = np.rad2deg(pose_to_angles(poses, joint_frames(OPEN)).numpy())
    assert (angles > LIMITS_DEG[..., 0] - 0.01).all()
    assert (angles < LIMITS_DEG[..., 1] + 0.01).all()
    joints = ManoLayer(OPEN)(hand_pose=poses).joints.numpy()
    assert (penetration(joints - joints[:, :1])[0] < 1e-4).all()
    thetas = np.stack([pair.theta for pair in pairs()])
    assert thetas.shape == (120, 6)
    assert (thetas.std(0) > 0.15).all()
    betas = np.stack([pair.beta for pair in pairs()])
    assert -2 <= betas.min() < -1.9 < 1.9 < betas.max() <= 2


def test_masks_are_the_projected_meshes() -> None:
    maker = make(*SMALL, "forearm.bare=0", "forearm.sleeve=0")
    for pair in maker.annotate_many(range(4)):
        masks = maker.render(pair)[1]
        for mask, points in zip(masks, (pair.vertices, pair.camera.to_right(pair.vertices)), strict=True):
            shown = rasterize(pair.camera.project(points), OPEN.faces, size=(180, 320)).face_ids >= 0
            np.testing.assert_array_equal(mask == HAND, shown)
            assert shown.sum() > 300


def test_the_forearm_is_in_view_and_hides_what_it_is_before() -> None:
    maker = make(*SMALL)
    for pair in maker.annotate_many(range(6)):
        pictures, masks = maker.render(pair)
        assert pictures.shape == (2, 180, 320, 3)
        for view, layers in enumerate(maker.layers(pair)):
            depths = [rasterize(layer.points_px, layer.faces, size=(180, 320)).depth for layer in layers]
            nearest = np.where(depths[0] <= depths[1], HAND, FOREARM) * np.isfinite(np.minimum(*depths))
            assert (nearest != masks[view]).mean() < 1e-3  # ties along the seam
            edge = np.concatenate([masks[view][-1], masks[view][:, 0], masks[view][:, -1]])
            assert (masks[view] == FOREARM).sum() > 200
            assert (edge == FOREARM).any()  # it leaves the picture: no end is seen


def test_walls_lie_where_their_disparity_says() -> None:
    camera = StereoCamera(320, 180, 175.0, 0.12)
    size = patch_size(camera)
    ramp = np.tile(np.linspace(20, 230, size), (size, 1))[..., None].repeat(3, 2).astype(np.uint8)
    ramp[:, :, 1] = np.linspace(20, 230, size)[:, None]
    wall = Wall(across=0.01, down=0.02, offset=6.0)
    left, right = (view.astype(float) for view in show_wall(ramp, wall, camera))
    per_px = (left[90, 260, 0] - left[90, 60, 0]) / 200
    disparity = (right[..., 0] - left[..., 0]) / per_px
    for x, y in ((80, 40), (240, 40), (160, 140)):
        expected = wall.across * x + wall.down * y + wall.offset
        window = disparity[y - 15 : y + 15, x - 15 : x + 15]
        assert abs(window.mean() - expected) < 0.35
    np.testing.assert_allclose(left[20:160, 100:220, 1], right[20:160, 100:220, 1], atol=1.5)  # rectified


def test_everything_follows_from_recipe_seed_split_and_index() -> None:
    maker = make(*SMALL)
    one, pictures = maker.annotate(5), maker.render(maker.annotate(5))
    other = next(make(*SMALL).annotate_many([5]))
    again = make(*SMALL).render(other)
    for key, value in one.annotations().items():
        np.testing.assert_array_equal(value, other.annotations()[key])
    for value, same in zip(pictures, again, strict=True):
        np.testing.assert_array_equal(value, same)
    for differing in (make(*SMALL, seed=1), make(*SMALL, split="val")):
        assert np.abs(differing.annotate(5).vertices - one.vertices).max() > 1e-3


def test_left_hands_are_held_and_seen_as_left_ones() -> None:
    pair = make(hand=load_hand("open", "left")).annotate(0)
    assert not pair.is_right
    wrist, index, little = pair.joints_3d[[0, 5, 17]]
    assert (np.cross(little - wrist, index - wrist) @ -wrist > 0) == pair.palm


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(HandkitError, match="stereo"):
        make("near_m=0.8")
    for change, said in (
        ("skin=[5,4]", r"skin is \[5, 4\]"),
        ("skin=[0,4]", r"skin\.0 is 0"),
        ("skin=[3]", "skin"),
        ("background=forest", "background.*forest"),
        ("same_hand=0", "same_hand is 0"),
    ):
        with pytest.raises(HandkitError, match=f"(?s){said}"):
            make(change)
    with pytest.raises(HandkitError, match="none of scikit-image's photographs has"):
        make("background=photographs", "width=4096", "height=4096")
    with pytest.raises(HandkitError, match="no hand fits in both pictures within"):
        make("baseline_m=0.5", "far_m=0.4").annotate(0)


def test_pairs_in_a_row_show_one_hand_moving() -> None:
    single, maker = make(*SMALL), make(*SMALL, "same_hand=3")
    drawn = list(maker.annotate_many(range(6)))
    for first, pair in zip(np.repeat(drawn[::3], 3), drawn, strict=True):
        np.testing.assert_array_equal(pair.beta, first.beta)
        assert (pair.appearance, pair.forearm) == (first.appearance, first.forearm)
        for extra, same in zip(pair.extras, first.extras, strict=True):
            # the mottling goes round the wrist, whose outline the pose changes a little
            np.testing.assert_allclose(extra.colors, same.colors, atol=5e-3)
    assert np.abs(drawn[3].beta - drawn[0].beta).max() > 0.1
    assert len({pair.joints_3d[0, 2] for pair in drawn}) == len({pair.theta[0] for pair in drawn}) == 6
    alone = single.annotate(3)
    np.testing.assert_array_equal(alone.vertices, drawn[3].vertices)
    np.testing.assert_array_equal(single.render(alone)[0], maker.render(drawn[3])[0])


def test_a_hand_keeps_its_wall() -> None:
    maker = make(*SMALL, "same_hand=2", "forearm.bare=0", "forearm.sleeve=0")
    pictures, masks = zip(*map(maker.render, maker.annotate_many(range(3))), strict=True)
    for number, same in ((1, True), (2, False)):
        behind = ~cv2.dilate(np.maximum(masks[0][0], masks[number][0]), np.ones((5, 5))).astype(bool)
        apart = np.abs(pictures[number][0][behind].astype(int) - pictures[0][0][behind].astype(int)).mean()
        assert behind.mean() > 0.5
        assert (apart < 6) == same  # the sensor's noise is each picture's own


def test_the_target_of_a_transfer_is_what_its_recipe_says() -> None:
    maker = StereoMaker(load_recipe(StereoRecipe, "stereo-target"), seed=0, split="train", hand=OPEN)
    drawn = list(maker.annotate_many(range(0, 100, 5)))
    assert {pair.monk for pair in drawn} <= {5, 6, 7, 8, 9, 10}
    assert len({pair.monk for pair in drawn}) > 3
    assert {pair.forearm for pair in drawn} == {"bare", "sleeve"}
    assert all(pair.appearance.light is not None for pair in drawn)
    assert (maker.camera.focal_px, maker.camera.baseline_m) == (512.0, 0.1)
    assert all(0.35 <= pair.joints_3d[0, 2] <= 0.6 for pair in drawn)
