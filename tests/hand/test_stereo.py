"""One hand of two views: Eq. 6 and 7 of RealisticHands, and what they must leave as it is."""

import math

import pytest
import torch
from torch import Tensor

from handkit.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle, ray_from_axis
from handkit.hand.model import load_hand
from handkit.hand.scaled import UPRIGHT_ROOT
from handkit.hand.stereo import (
    FusedHand,
    K_in_widths,
    ViewOfHand,
    average_wrist,
    camera_of_wrist,
    crop_from_crop,
    fuse_hands,
    fuse_poses,
    nearest_axis_angle,
    place_in_camera,
    to_left,
    to_right,
    triangulate_wrist,
    turn_pose,
    wrist_in_camera,
)
from handkit.hand.weak import WeakPoseLayer

HANDS = 24
FUSIONS = ("average", "triangulated")


def rig(general: bool, seed: int = 0) -> Tensor:
    """[R|t] of cameras 12 cm apart, side by side or turned towards the hand and tilted."""
    right_from_left = torch.eye(3, 4, dtype=torch.float64).repeat(HANDS, 1, 1)
    right_from_left[:, 0, 3] = -0.12
    if general:
        torch.manual_seed(seed)
        right_from_left[:, :, :3] = axis_angle_to_matrix(0.25 * torch.randn(HANDS, 3, dtype=torch.float64))
        right_from_left[:, :, 3] += 0.03 * torch.randn(HANDS, 3, dtype=torch.float64)
    return right_from_left


def crops(wrist: Tensor, seed: int) -> Tensor:
    """Pinholes in image widths of crops of different size, each somewhere about its wrist."""
    generator = torch.Generator().manual_seed(seed)
    focal = 1.5 + 3 * torch.rand(HANDS, generator=generator, dtype=torch.float64)
    place = 0.2 + 0.6 * torch.rand(HANDS, 2, generator=generator, dtype=torch.float64)
    K = torch.eye(3, dtype=torch.float64).repeat(HANDS, 1, 1)
    K[:, 0, 0] = K[:, 1, 1] = focal
    K[:, :2, 2] = place - focal[:, None] * wrist[:, :2] / wrist[:, 2:]
    return K


def said(orient: Tensor, wrist: Tensor, seed: int) -> ViewOfHand:
    """What a network would say of a hand that stands in a camera, if it said the truth."""
    generator = torch.Generator().manual_seed(7)
    fingers = 0.4 * torch.randn(HANDS, 45, generator=generator, dtype=torch.float64)
    betas = torch.randn(HANDS, 10, generator=generator, dtype=torch.float64)
    K = crops(wrist, seed)
    upright = axis_angle_to_matrix(torch.tensor(UPRIGHT_ROOT, dtype=torch.float64))
    turn = matrix_to_axis_angle(ray_from_axis(wrist).mT @ orient @ upright.T)
    return ViewOfHand(torch.cat([turn, fingers], -1), betas, camera_of_wrist(wrist, K), K)


def truth(right_from_left: Tensor) -> tuple[ViewOfHand, ViewOfHand, Tensor]:
    """Both views' numbers of hands, and the wrists in the right camera."""
    generator = torch.Generator().manual_seed(3)
    wrist = torch.rand(HANDS, 3, generator=generator, dtype=torch.float64) - 0.5
    wrist = wrist * torch.tensor([0.3, 0.3, 0.3]) + torch.tensor([0.0, 0.0, 0.5])
    orient = axis_angle_to_matrix(1.5 * torch.randn(HANDS, 3, generator=generator, dtype=torch.float64))
    wrist_left = to_left(wrist[:, None], right_from_left)[:, 0]
    left = said(right_from_left[..., :3].mT @ orient, wrist_left, seed=2)
    return said(orient, wrist, seed=1), left, wrist


def stands(hand: ViewOfHand, wrist: Tensor) -> Tensor:
    """Vertices in the view's camera."""
    out = WeakPoseLayer(load_hand("open"))(pose=hand.pose, betas=hand.betas, camera=hand.camera)
    return place_in_camera(out.vertices, wrist)


@pytest.mark.parametrize("general", [False, True], ids=["rectified", "turned"])
@pytest.mark.parametrize("camera", FUSIONS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["double", "single"])
def test_two_views_that_say_the_truth_fuse_to_it(general: bool, camera: str, dtype: torch.dtype) -> None:
    right_from_left = rig(general)
    right, left, wrist = truth(right_from_left)
    torch.manual_seed(5)
    weights = 3 * torch.randn(HANDS, 48, dtype=torch.float64)
    given = [ViewOfHand(*(part.to(dtype) for part in view)) for view in (right, left)]
    fused = fuse_hands(*given, weights.to(dtype), right_from_left.to(dtype), camera=camera)
    expected = stands(right, wrist)
    tolerance = 1e-5
    in_double = FusedHand(
        *(ViewOfHand(*(part.double() for part in view)) for view in fused[:2]), *(part.double() for part in fused[2:])
    )
    here = stands(in_double.right, in_double.wrist_right)
    there = to_right(stands(in_double.left, in_double.wrist_left), right_from_left)
    assert (here - expected).norm(dim=-1).max() < tolerance
    assert (there - expected).norm(dim=-1).max() < tolerance
    assert torch.allclose(in_double.right.camera, right.camera, atol=tolerance, rtol=1e-4)
    assert torch.allclose(in_double.left.camera, left.camera, atol=tolerance, rtol=1e-4)


def test_crops_of_one_hand_differ_enough_to_matter() -> None:
    """The test above would mean little if both views said the same numbers."""
    right, left, _ = truth(rig(False))
    assert (right.pose[:, :3] - left.pose[:, :3]).abs().max(1).values.median() > 0.05
    assert (right.camera - left.camera).abs().max(1).values.min() > 0.05


def test_eq_6_one_value_at_a_time() -> None:
    torch.manual_seed(0)
    right, left, weights = (torch.randn(6, 48, dtype=torch.float64) for _ in range(3))
    R = axis_angle_to_matrix(torch.randn(6, 3, dtype=torch.float64))
    fused = fuse_poses(right, left, weights, R)
    for row in range(6):
        turned = matrix_to_axis_angle(R[row] @ axis_angle_to_matrix(left[row, :3]))
        angle = turned.norm()
        equal = [turned * (angle + 2 * math.pi * k) / angle for k in range(-3, 4)]
        near = min(equal, key=lambda vector: float((vector - right[row, :3]).norm()))
        for value in range(48):
            other = near[value] if value < 3 else left[row, value]
            expected = weights[row, value] * right[row, value] + (1 - weights[row, value]) * other
            assert torch.isclose(fused[row, value], expected, atol=1e-9)


def test_the_same_axes_leave_the_printed_formula() -> None:
    torch.manual_seed(1)
    right, left, weights = 0.5 * torch.randn(2, 5, 48), 0.5 * torch.randn(2, 5, 48), torch.randn(2, 5, 48)
    fused = fuse_poses(right, left, weights, torch.eye(3).expand(2, 5, 3, 3))
    assert torch.allclose(fused, weights * right + (1 - weights) * left, atol=2e-6)
    K = torch.tensor([[2.0, 0, 0.5], [0, 2, 0.5], [0, 0, 1]]).expand(2, 5, 3, 3)
    camera = torch.tensor([4.0, 0.1, 0.2]).expand(2, 5, 3)
    hands = [ViewOfHand(pose, torch.randn(2, 5, 10), camera, K) for pose in (right, left)]
    whole = fuse_hands(*hands, weights, torch.eye(3, 4).expand(2, 5, 3, 4))
    assert torch.allclose(whole.right.pose, fused, atol=2e-6)
    assert torch.allclose(whole.right.betas, (hands[0].betas + hands[1].betas) / 2)
    assert torch.allclose(whole.right.camera, camera, atol=1e-6)


def test_weights_of_one_and_zero_are_the_views() -> None:
    right_from_left = rig(True)
    right, left, _ = truth(right_from_left)
    torch.manual_seed(2)
    left = left._replace(pose=left.pose + 0.1 * torch.randn_like(left.pose))
    only_right = fuse_hands(right, left, torch.ones(HANDS, 48, dtype=torch.float64), right_from_left)
    assert torch.allclose(only_right.right.pose, right.pose, atol=1e-9)
    only_left = fuse_hands(right, left, torch.zeros(HANDS, 48, dtype=torch.float64), right_from_left)
    assert torch.allclose(
        axis_angle_to_matrix(only_left.left.pose[:, :3]), axis_angle_to_matrix(left.pose[:, :3]), atol=1e-9
    )
    assert torch.allclose(only_left.left.pose[:, 3:], left.pose[:, 3:])


def test_the_nearest_of_equal_turns() -> None:
    near = torch.tensor([[0.0, 0.0, 3.5], [0.0, 0.0, -3.5], [0.0, 0.0, 7.0], [0.0, 0.0, 0.3], [9.0, 0.0, 0.0]])
    given = torch.tensor([[0.0, 0.0, -3.0], [0.0, 0.0, 3.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.2], [0.0, 0.0, 0.0]])
    expected = torch.tensor([2 * math.pi - 3, 3 - 2 * math.pi, 1 + 2 * math.pi, 0.2, 0.0])
    assert torch.allclose(nearest_axis_angle(given, near)[:, 2], expected, atol=1e-6)


def test_turns_about_pi_do_not_cancel() -> None:
    """Half a turn seen as +3.1 by one view and as -3.1 by the other: the middle is half a turn, not none."""
    right, left = torch.zeros(1, 48), torch.zeros(1, 48)
    right[0, 0], left[0, 0] = 3.1, -3.1
    fused = fuse_poses(right, left, torch.full((1, 48), 0.5), torch.eye(3)[None])
    assert math.isclose(float(fused[0, 0]), math.pi, abs_tol=1e-5)


def test_a_turn_goes_there_and_back() -> None:
    right_from_left = rig(True)
    right, left, wrist = truth(right_from_left)
    wrist_left = to_left(wrist[:, None], right_from_left)[:, 0]
    turn = crop_from_crop(wrist, wrist_left, right_from_left)
    assert torch.allclose(turn_pose(left.pose, turn, near=right.pose), right.pose, atol=1e-9)
    back = turn_pose(turn_pose(left.pose, turn), turn.mT, near=left.pose)
    assert torch.allclose(back, left.pose, atol=1e-9)


def test_wrists_come_from_cameras_and_go_back() -> None:
    torch.manual_seed(4)
    K = K_in_widths(torch.tensor([[300.0, 0, 100], [0, 300, 130], [0, 0, 1]]).expand(3, 2, 3, 3), 224)
    camera = torch.cat([1 + 3 * torch.rand(3, 2, 1), 0.3 * torch.randn(3, 2, 2)], -1)
    wrist = wrist_in_camera(camera, K)
    assert torch.allclose(wrist[..., 2], 300 / 224 / camera[..., 0])
    assert torch.allclose(camera_of_wrist(wrist, K), camera, atol=1e-5)
    behind = wrist_in_camera(camera * torch.tensor([-1.0, 1, 1]), K)
    assert (behind[..., 2] > 0).all()
    assert behind.isfinite().all()


def test_the_average_is_eq_7() -> None:
    right_from_left = rig(False)[:1].float()
    found = average_wrist(torch.tensor([[0.1, 0.0, 0.5]]), torch.tensor([[0.2, 0.1, 0.7]]), right_from_left)
    assert torch.allclose(found, torch.tensor([[0.09, 0.05, 0.6]]))


def test_triangulation_is_the_weighted_nearest_point() -> None:
    """Against the normal equations of the two rays, for rays that miss one another."""
    right_from_left = rig(True)
    right, left, wrist = truth(right_from_left)
    torch.manual_seed(6)
    seen = wrist + 0.01 * torch.randn_like(wrist)
    seen_left = to_left(wrist[:, None], right_from_left)[:, 0] + 0.01 * torch.randn_like(wrist)
    found = triangulate_wrist(seen, seen_left, right.camera[:, 0], left.camera[:, 0], right_from_left)
    for row in range(HANDS):
        rays = [(torch.zeros(3).double(), seen[row], right.camera[row, 0])]
        rays += [
            (right_from_left[row, :, 3], right_from_left[row, :, :3] @ seen_left[row], left.camera[row, 0]),
        ]
        A, b = torch.zeros(3, 3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
        for origin, direction, scale in rays:
            unit = direction / direction.norm()
            across = scale**2 * (torch.eye(3, dtype=torch.float64) - torch.outer(unit, unit))
            A, b = A + across, b + across @ origin
        assert torch.allclose(found[row], torch.linalg.solve(A, b), atol=1e-9)
        # Depth is what the rays say, not the views' own.
        far = triangulate_wrist(2 * seen, 3 * seen_left, right.camera[:, 0], left.camera[:, 0], right_from_left)
        assert torch.allclose(far, found, atol=1e-9)


def test_rays_that_do_not_meet_in_front_are_averaged() -> None:
    right_from_left = rig(False)[:2].float()
    right = torch.tensor([[0.0, 0.0, 0.5], [0.2, 0.0, 0.5]])
    left = torch.tensor([[0.0, 0.0, 0.5], [-0.2, 0.0, 0.5]])  # parallel, and apart from one another
    one = torch.ones(2)
    found = triangulate_wrist(right, left, one, one, right_from_left)
    assert torch.allclose(found, average_wrist(right, left, right_from_left))


@pytest.mark.parametrize("camera", FUSIONS)
@pytest.mark.parametrize("still", [False, True], ids=["turned", "at rest"])
def test_gradients_are_finite(camera: str, still: bool) -> None:
    """Also of hands at rest in the middle of both crops, where angles and rays vanish, and of half turns."""
    rows = 3
    K = torch.tensor([[2.0, 0, 0.5], [0, 2, 0.5], [0, 0, 1]]).expand(rows, 3, 3)
    torch.manual_seed(8)
    views = []
    for _ in range(2):
        pose = torch.zeros(rows, 48) if still else torch.randn(rows, 48)
        pose[1, 0] = math.pi if still else 2.0
        pose.requires_grad_()
        place = torch.zeros(rows, 2) if still else 0.1 * torch.randn(rows, 2)
        camera_of = torch.cat([torch.full((rows, 1), 4.0), place], -1).requires_grad_()
        views.append(ViewOfHand(pose, torch.zeros(rows, 10, requires_grad=True), camera_of, K))
    weights = torch.full((rows, 48), 0.5, requires_grad=True)
    right_from_left = torch.eye(3, 4).repeat(rows, 1, 1)
    right_from_left[0, 0, 3] = -0.12
    fused = fuse_hands(*views, weights, right_from_left, camera=camera)
    total = sum(part.square().sum() for hand in fused[:2] for part in hand[:3]) + fused.wrist_left.sum()
    total.backward()
    learned = [weights, *(part for view in views for part in view[:3])]
    assert all(part.grad is not None and part.grad.isfinite().all() for part in learned)
