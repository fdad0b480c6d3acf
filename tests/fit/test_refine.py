"""Refinement recovers known hands from their masks, and never makes a loss worse."""

from dataclasses import replace

import pytest
import torch

from handkit.errors import HandkitError
from handkit.fit.problem import Problem, mesh_edges
from handkit.fit.refine import (
    PARTS,
    Evaluation,
    HandState,
    Keypoints,
    View,
    default_settings,
    published_sums,
    refine_hands,
)
from handkit.metrics import mask_iou, pa_mpjpe_mm
from handkit.render import soft_silhouette
from tests.fit.known import crop_view, hard_masks, known_hands, mesh_of, moved

SIZE = 224


def ious(hand, vertices: torch.Tensor, view: View) -> torch.Tensor:  # type: ignore[no-untyped-def]
    size = (view.target.shape[-2], view.target.shape[-1])
    return mask_iou(hard_masks(hand, vertices, view.K, size), view.target > 0.5)


def test_known_hands_from_their_own_masks() -> None:
    hand, truth, mesh = known_hands(8)
    start = moved(truth, 10.0, 0.005)
    view = crop_view(hand, start, mesh, SIZE)
    before = ious(hand, mesh_of(hand, start).vertices, view)
    refined = refine_hands(start, hand=hand, views=[view], iterations=15)
    after = ious(hand, refined.vertices, view)
    assert before.mean() < 0.8
    assert after.mean() > 0.96
    assert after.min() > 0.9
    assert refined.improved.all()
    assert (
        pa_mpjpe_mm(refined.joints, mesh.joints).mean()
        < 0.8 * pa_mpjpe_mm(mesh_of(hand, start).joints, mesh.joints).mean()
    )


@pytest.mark.parametrize("settings", [default_settings, published_sums])
def test_the_truth_stays_where_it_is(settings) -> None:  # type: ignore[no-untyped-def]
    hand, truth, mesh = known_hands(2)
    view = crop_view(hand, truth, mesh, 96)
    refined = refine_hands(truth, hand=hand, views=[view], iterations=3, settings=settings(hand, 96))
    assert (refined.loss_after <= refined.loss_before).all()
    # Half a pixel of a 96 pixel crop is worth several hundredths.
    assert ious(hand, refined.vertices, view).min() > 0.94
    assert pa_mpjpe_mm(refined.joints, mesh.joints).max() < 3


def test_published_steps_are_the_papers() -> None:
    """Two steps of velocity = 0.002 gradient + 0.9 velocity, redone by hand in degrees."""
    hand, truth, mesh = known_hands(2)
    start = moved(truth, 3.0, 0.002)
    view = crop_view(hand, start, mesh, 48)
    settings = published_sums(hand, 48)
    refined = refine_hands(start, hand=hand, views=[view], iterations=2, settings=settings, free=("pose",))
    problem = Problem(hand, start, [view], None, settings)
    offset, velocity = torch.zeros(2, 48), torch.zeros(2, 48)
    for _ in range(2):
        leaf = offset.clone().requires_grad_()
        slope = torch.autograd.grad(problem.evaluate({"pose": leaf.deg2rad()}).loss.sum(), leaf)[0]
        velocity = 0.002 * slope + 0.9 * velocity
        offset = offset - velocity
    assert refined.improved.all()
    torch.testing.assert_close(refined.state.hand_pose, start.hand_pose + offset[:, 3:].deg2rad(), atol=1e-6, rtol=0)


def test_published_settings_bring_known_hands_nearer() -> None:
    hand, truth, mesh = known_hands(4)
    start = moved(truth, 10.0, 0.005)
    view = crop_view(hand, start, mesh, SIZE)
    refined = refine_hands(start, hand=hand, views=[view], iterations=15, settings=published_sums(hand))
    assert refined.improved.all()
    assert ious(hand, refined.vertices, view).mean() > ious(hand, mesh_of(hand, start).vertices, view).mean() + 0.08


def test_published_loss_is_eq_5() -> None:
    hand, truth, mesh = known_hands(1)
    view = crop_view(hand, truth, mesh, 48)
    problem = Problem(hand, truth, [view], None, published_sums(hand, 48))
    dv = 1e-3 * torch.randn(1, 778, 3, generator=torch.Generator().manual_seed(0))
    v, faces = (mesh.vertices + dv)[0], torch.tensor(hand.faces)
    edges = {tuple(sorted((int(f[i]), int(f[i - 1])))) for f in hand.faces for i in range(3)}
    a, b = torch.tensor(sorted(edges)).unbind(1)
    neighbours = torch.zeros(778, 778)
    neighbours[a, b] = neighbours[b, a] = 1
    drawn = soft_silhouette(view.pixels(v[None]), faces, size=(48, 48), sigma=1.25)
    in_mm = 1e6
    expected = (drawn - view.target).square().sum() + in_mm * dv.square().sum()
    expected += in_mm * (v - neighbours @ v / neighbours.sum(1, keepdim=True)).square().sum()
    expected += in_mm * 0.1 * 2 * (v[a] - v[b]).square().sum()
    normals = torch.linalg.cross(v[faces[:, 1]] - v[faces[:, 0]], v[faces[:, 2]] - v[faces[:, 0]])
    sides: dict[tuple[int, ...], list[int]] = {}
    for i, f in enumerate(hand.faces):
        for k in range(3):
            sides.setdefault(tuple(sorted((int(f[k]), int(f[k - 1])))), []).append(i)
    pairs = torch.tensor([pair for pair in sides.values() if len(pair) == 2])
    expected += (1 - torch.cosine_similarity(normals[pairs[:, 0]], normals[pairs[:, 1]], dim=-1)).sum()
    found = problem.evaluate({"vertices": dv}).loss[0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize("part", PARTS)
def test_only_what_is_free_moves(part: str) -> None:
    hand, truth, mesh = known_hands(2)
    start = moved(truth, 5.0, 0.004)
    view = crop_view(hand, start, mesh, 96)
    refined = refine_hands(start, hand=hand, views=[view], iterations=3, free=(part,))
    assert (refined.loss_after < refined.loss_before).all()
    state = refined.state
    changed = {
        "pose": not torch.equal(state.hand_pose, start.hand_pose),
        "shape": not torch.equal(state.betas, start.betas),
        "camera": not torch.equal(state.transl, start.transl),
        "vertices": state.vertex_offsets is not None,
    }
    assert [name for name, moves in changed.items() if moves] == [part]
    with pytest.raises(HandkitError, match="cannot be refined"):
        refine_hands(start, hand=hand, views=[view], free=("colour",))


def test_a_batch_is_its_hands_one_by_one() -> None:
    hand, truth, mesh = known_hands(3)
    start = moved(truth, 5.0, 0.004)
    view = crop_view(hand, start, mesh, 96)
    together = refine_hands(start, hand=hand, views=[view], iterations=4)
    for i in range(3):
        row = torch.tensor([i])
        alone_start = HandState(
            **{name: getattr(start, name)[row] for name in ("global_orient", "hand_pose", "betas", "transl")}
        )
        alone = refine_hands(alone_start, hand=hand, views=[view.take(row)], iterations=4)
        torch.testing.assert_close(alone.vertices[0], together.vertices[i], atol=2e-4, rtol=0)


def test_two_views_see_the_depth_that_one_does_not() -> None:
    hand, truth, mesh = known_hands(4, seed=1)
    start = replace(truth, transl=truth.transl + torch.tensor([0.0, 0.0, 0.03]))
    first = crop_view(hand, start, mesh, 128)
    # A camera 90 degrees to the side, half a metre from the hands.
    rotation = torch.tensor([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    shift = torch.tensor([-0.5, 0.0, 0.5])
    side = replace(first, K=torch.tensor([[130.0, 0, 64], [0, 130, 40], [0, 0, 1]]).expand(4, 3, 3))
    side = replace(side, rotation=rotation, translation=shift)
    seen = mesh.vertices @ rotation.mT + shift
    side = replace(side, target=hard_masks(hand, seen, side.K, (128, 128)).float())
    errors = []
    for views in ([first], [first, side]):
        refined = refine_hands(start, hand=hand, views=views, iterations=10, free=("camera",))
        errors.append(float((refined.state.transl - truth.transl)[:, 2].abs().mean()))
    assert errors[1] < 0.006
    assert errors[1] < 0.5 * errors[0] + 0.003


def test_keypoints_draw_the_joints() -> None:
    hand, truth, mesh = known_hands(6, seed=2)
    start = moved(truth, 8.0, 0.004)
    view = crop_view(hand, start, mesh, 128)
    keypoints = Keypoints(xy=view.pixels(mesh.joints)[..., :2], scores=torch.ones(6, 21))
    weights = replace(default_settings(hand, 128).weights, keypoints=600.0, joint_offset=None)
    settings = replace(default_settings(hand, 128), weights=weights)
    errors = []
    for given in (None, keypoints):
        refined = refine_hands(start, hand=hand, views=[view], keypoints=given, iterations=10, settings=settings)
        errors.append((view.pixels(refined.joints)[..., :2] - keypoints.xy).norm(dim=-1).mean())
    assert errors[1] < 0.6 * errors[0]


def test_sure_keypoints_hold_the_joints_where_they_were() -> None:
    """The outline of another pose moves the joints of a hand that was seen badly, hardly those of one seen well."""
    hand, truth, mesh = known_hands(4, seed=2)
    start = moved(truth, 8.0, 0.004)
    view = crop_view(hand, start, mesh, 128)
    at_start = mesh_of(hand, start)
    moves, overlaps = [], []
    for score in (0.0, 0.6, 0.95):
        keypoints = Keypoints(xy=view.pixels(at_start.joints)[..., :2], scores=torch.full((4, 21), score))
        refined = refine_hands(start, hand=hand, views=[view], keypoints=keypoints, iterations=10)
        moves.append(float(pa_mpjpe_mm(refined.joints, at_start.joints).mean()))
        overlaps.append(float(ious(hand, refined.vertices, view).mean()))
    assert moves[2] < 0.6 * moves[1] < 0.6 * moves[0]
    assert moves[2] < 0.7
    assert min(overlaps) > float(ious(hand, at_start.vertices, view).mean()) + 0.05


def test_vertex_offsets_do_not_follow_a_ragged_mask() -> None:
    """A mask with teeth of 4 pixels: the mesh takes its size, not its teeth."""
    hand, truth, mesh = known_hands(2, seed=3)
    view = crop_view(hand, truth, mesh, SIZE)
    grown = torch.nn.functional.max_pool2d(view.target[:, None], 9, stride=1, padding=4)[:, 0]
    teeth = (torch.arange(SIZE)[:, None] // 4 + torch.arange(SIZE) // 4) % 2 == 0
    ragged = replace(view, target=torch.where(teeth, grown, view.target))
    refined = refine_hands(truth, hand=hand, views=[ragged], iterations=10, free=("vertices",))
    bends = [_bends(hand, vertices) for vertices in (mesh.vertices, refined.vertices)]
    assert (refined.loss_after < refined.loss_before).all()
    assert (bends[1] - bends[0]).abs().mean().rad2deg() < 3


def _bends(hand, vertices: torch.Tensor) -> torch.Tensor:  # type: ignore[no-untyped-def]
    """Angles between the normals of neighbouring faces."""
    corners = vertices[..., mesh_edges(hand).face_pairs, :]
    normals = torch.linalg.cross(corners[..., 1, :] - corners[..., 0, :], corners[..., 2, :] - corners[..., 0, :])
    return torch.cosine_similarity(normals[..., 0, :], normals[..., 1, :], dim=-1).clamp(-1, 1).acos()


def test_hands_that_cannot_get_better_keep_their_original() -> None:
    hand, truth, mesh = known_hands(2)
    view = crop_view(hand, truth, mesh, 64)
    nowhere = replace(view, target=torch.zeros_like(view.target), valid=torch.zeros_like(view.target, dtype=torch.bool))
    seen: list[Evaluation] = []
    refined = refine_hands(
        truth, hand=hand, views=[nowhere], iterations=3, on_iteration=lambda _, found: seen.append(found)
    )
    assert not refined.improved.any()
    assert torch.equal(refined.state.hand_pose, truth.hand_pose)
    assert len(seen) == 4
    behind = replace(truth, transl=truth.transl * torch.tensor([1.0, 1.0, -1.0]))
    refined = refine_hands(behind, hand=hand, views=[view], iterations=3)
    assert refined.vertices.isfinite().all()
    assert not refined.improved.any()
    settings = published_sums(hand)
    refined = refine_hands(moved(truth, 10, 0.005), hand=hand, views=[view], iterations=3, settings=settings)
    assert (refined.loss_after <= refined.loss_before).all()
