"""The hand of S2HAND's numbers: what the equations say, and the cameras that show it."""

import math

import pytest
import torch
from torch import Tensor

from handkit.errors import HandkitError
from handkit.geometry.cameras import K_from_focal, project
from handkit.geometry.rotations import axis_angle_to_matrix, ray_from_axis
from handkit.hand import ManoLayer, load_hand
from handkit.hand.scaled import CAMERAS, CANONICAL_FOCAL, ScaledHandLayer, canonical_transl, positive_scale, root_turn

WIDTH = 224


def numbers(batch: int = 4, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(batch, *shape, generator=generator, dtype=torch.float64)

    return {
        "pca": 0.3 * draw(30),
        "betas": draw(10),
        "scale": 0.95 + 0.02 * draw(),
        "orient": draw(3),
        "transl": torch.tensor([0.0, 0.0, 0.65], dtype=torch.float64) + 0.03 * draw(3),
    }


def camera(focal: float, x: float = 112.0, y: float = 112.0, batch: int = 4) -> Tensor:
    K = K_from_focal(torch.full((batch,), focal, dtype=torch.float64), WIDTH, WIDTH)
    K[:, 0, 2], K[:, 1, 2] = x, y
    return K


def test_convention_canonical_camera() -> None:
    assert pytest.approx(480) == CANONICAL_FOCAL * WIDTH


def test_is_scaled_turned_and_shifted_hand() -> None:
    hand, given = load_hand("open"), numbers()
    for kind in ("perspective", "perspective-true"):
        out = ScaledHandLayer(hand, kind)(**given, K=camera(480), width=WIDTH)
        pose = torch.tensor(hand.hands_mean) + given["pca"] @ torch.tensor(hand.hands_components[:30])
        root = torch.tensor([root_turn(kind)], dtype=torch.float64)
        plain = ManoLayer(hand)(global_orient=root, hand_pose=pose, betas=given["betas"])
        for found, points in ((out.joints, plain.joints), (out.vertices, plain.vertices)):
            for i in range(len(points)):
                wanted = given["scale"][i] * points[i] @ axis_angle_to_matrix(given["orient"][i]).T + given["transl"][i]
                assert torch.allclose(found[i], wanted, atol=1e-7)
        assert torch.allclose(out.pose.flatten(1), pose, atol=1e-6)


def test_as_released_a_negative_scale_counts_as_a_positive_one() -> None:
    layer, given = ScaledHandLayer(load_hand("open"), "perspective-true"), numbers()
    positive = layer(**given, K=camera(480), width=WIDTH)
    negative = layer(**{**given, "scale": -given["scale"]}, K=camera(480), width=WIDTH)
    assert torch.equal(positive.joints, negative.joints)


def test_convention_root_turns() -> None:
    """At rest fingers point to -x, the thumb to +z, the palm to -y; upright: fingers up, thumb to the camera."""
    assert root_turn("perspective-true") == (math.pi, 0, 0)
    R = axis_angle_to_matrix(torch.tensor(root_turn("perspective"), dtype=torch.float64))
    turned = R @ torch.tensor([[-1.0, 0, 0], [0, 0, 1], [0, -1, 0]], dtype=torch.float64).T
    wanted = torch.tensor([[0.0, -1, 0], [0, 0, -1], [-1, 0, 0]], dtype=torch.float64).T
    assert torch.allclose(turned, wanted, atol=1e-12)


def test_scale_stays_positive() -> None:
    scale = torch.tensor([-2.0, 0.0, 0.3, 0.5, 0.95], dtype=torch.float64, requires_grad=True)
    kept = positive_scale(scale, "perspective")
    assert (kept > 0).all()
    assert kept[3:].tolist() == [0.5, 0.95]
    (gradient,) = torch.autograd.grad(kept.sum(), scale)
    assert (gradient > 0).all()
    assert positive_scale(scale, "perspective-true")[0] == 2


def test_2d_is_the_projection_of_3d() -> None:
    K = camera(700, 30, 160)
    out = ScaledHandLayer(load_hand("open"))(**numbers(), K=K, width=WIDTH)
    assert torch.allclose(out.joints_2d, project(out.joints, K))
    assert torch.allclose(out.vertices_px[..., :2], project(out.vertices, K))
    assert torch.equal(out.vertices_px[..., 2], out.vertices[..., 2])


def test_another_focal_length_shows_the_hand_in_its_place_at_its_size() -> None:
    layer, given = ScaledHandLayer(load_hand("open")), numbers()
    near, far = (layer(**given, K=camera(focal), width=WIDTH) for focal in (480, 960))
    assert torch.allclose(
        far.joints[..., 2].mean(-1), 2 * near.joints[..., 2].mean(-1), rtol=0.1
    )  # the origin's depth doubles, the hand's own does not
    gap = (near.joints_2d - far.joints_2d).norm(dim=-1)
    assert gap.max() < 12  # perspective alone


def test_an_off_centre_crop_shows_the_hand_turned_with_its_ray() -> None:
    """What a camera turned towards the crop would show, up to the crop's being no camera of its own."""
    layer, given = ScaledHandLayer(load_hand("open")), numbers()
    centred = layer(**given, K=camera(2000), width=WIDTH)
    aside = layer(**given, K=camera(2000, -600, 500), width=WIDTH)
    gap = (centred.joints_2d - aside.joints_2d).norm(dim=-1)
    assert gap.max() < 12
    straight = layer.place(canonical_transl(given["transl"], "perspective"), camera(2000), WIDTH)
    turned = layer.place(canonical_transl(given["transl"], "perspective"), camera(2000, -600, 500), WIDTH)
    apart = (straight.turn.mT @ turned.turn).diagonal(dim1=-2, dim2=-1).sum(-1)
    assert torch.rad2deg(torch.arccos((apart - 1) / 2)).min() > 15


def test_orthographic_needs_no_camera() -> None:
    layer, given = ScaledHandLayer(load_hand("open"), "orthographic"), numbers()
    a, b = (layer(**given, K=camera(focal, x), width=WIDTH) for focal, x in ((480, 112), (2000, -50)))
    assert torch.equal(a.joints_2d, b.joints_2d)
    # two points one behind the other are seen at one place
    depth = given["transl"][:, 2]
    wanted = CANONICAL_FOCAL * WIDTH / depth[:, None, None] * a.joints[..., :2] + WIDTH / 2
    assert torch.allclose(a.joints_2d, wanted)


def test_depth_stays_in_front_of_the_camera() -> None:
    depth = torch.tensor([-3.0, 0.0, 0.1, 0.2, 0.65], dtype=torch.float64, requires_grad=True)
    transl = torch.stack([torch.zeros(5), torch.zeros(5), depth], -1)
    kept = canonical_transl(transl, "perspective")[:, 2]
    assert (kept > 0).all()
    assert kept[3:].tolist() == [0.2, 0.65]
    (gradient,) = torch.autograd.grad(kept.sum(), depth)
    assert (gradient > 0).all()
    assert torch.equal(canonical_transl(transl, "perspective-true"), transl)


@pytest.mark.parametrize("kind", CAMERAS)
def test_leading_dimensions_and_gradients(kind: str) -> None:
    layer, given = ScaledHandLayer(load_hand("open"), kind), numbers(6)
    flat = layer(**given, K=camera(480, batch=6), width=WIDTH)
    shaped = {name: value.unflatten(0, (2, 3)).requires_grad_() for name, value in given.items()}
    out = layer(**shaped, K=camera(480, batch=6).unflatten(0, (2, 3)), width=WIDTH)
    assert torch.allclose(out.joints.flatten(0, 1), flat.joints)
    assert torch.allclose(out.vertices_px.flatten(0, 1), flat.vertices_px)
    (out.joints_2d.sum() + out.joints.sum()).backward()
    for name, value in shaped.items():
        assert value.grad is not None, name
        assert value.grad.isfinite().all(), name
        assert value.grad.abs().sum() > 0, name


def test_arrays_of_the_hand_are_not_stored() -> None:
    assert not ScaledHandLayer(load_hand("open")).state_dict()


def test_unknown_camera() -> None:
    with pytest.raises(HandkitError, match="no camera 'fisheye'"):
        ScaledHandLayer(load_hand("open"), "fisheye")


def test_ray_from_axis_is_a_rotation_to_the_ray() -> None:
    points = torch.tensor([[0.3, -0.2, 0.9], [0.0, 0.0, 2.0]], dtype=torch.float64)
    turns = ray_from_axis(points)
    rays = points / points.norm(dim=-1, keepdim=True)
    assert torch.allclose(turns[..., 2], rays)
    assert torch.allclose(turns @ turns.mT, torch.eye(3, dtype=torch.float64).expand(2, 3, 3), atol=1e-12)
    assert torch.allclose(torch.linalg.det(turns), torch.ones(2, dtype=torch.float64))
