"""HandNet's 48 pose numbers: round trips, the same hand as the plain layer's, what zeros are."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from handkit.geometry.rotations import axis_angle_to_matrix, rotation_about
from handkit.hand import HandModel, ManoLayer, load_hand
from handkit.hand.scaled import ScaledHandLayer
from handkit.hand.weak import WeakPoseLayer, decode_pose, encode_pose

DTYPES = {torch.float32: 2e-6, torch.float64: 1e-12}

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module", params=["open", "mano"])
def hand(request: pytest.FixtureRequest) -> HandModel:
    """The open hand, and one of random numbers whose mean pose is another."""
    if request.param == "open":
        return load_hand("open")
    return load_hand(request.getfixturevalue("mano_folder") / "MANO_RIGHT.pkl")


@pytest.fixture(scope="module")
def layer() -> WeakPoseLayer:
    return WeakPoseLayer(load_hand("open"))


def build_inputs(*batch: int, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(5)
    sizes = {"pose": 48, "betas": 10, "camera": 3}
    return {
        name: torch.randn((*batch, size), generator=generator, dtype=torch.float64).to(dtype)
        for name, size in sizes.items()
    }


def build_hands(*batch: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Turns of up to some 2 pi, and the 45 numbers of the joints."""
    generator = torch.Generator().manual_seed(6)
    values = torch.randn((*batch, 48), generator=generator, dtype=torch.float64).to(dtype)
    return 1.5 * values[..., :3], 0.5 * values[..., 3:]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [(), (4,), (2, 3), (0,)])
def test_round_trip(hand: HandModel, dtype: torch.dtype, batch: tuple[int, ...]) -> None:
    tolerance = {"rtol": 0, "atol": DTYPES[dtype]}
    orient, joints = build_hands(*batch, dtype=dtype)
    pose = encode_pose(orient, joints, hand)
    assert (pose.shape, pose.dtype) == ((*batch, 48), dtype)
    turn, back = decode_pose(pose, hand)
    torch.testing.assert_close(back, joints, **tolerance)
    torch.testing.assert_close(axis_angle_to_matrix(turn), axis_angle_to_matrix(orient), **tolerance)
    again = encode_pose(turn, back, hand)
    torch.testing.assert_close(axis_angle_to_matrix(again[..., :3]), axis_angle_to_matrix(pose[..., :3]), **tolerance)
    torch.testing.assert_close(again[..., 3:], pose[..., 3:], **tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
def test_it_is_the_plain_layers_hand_about_the_wrist(hand: HandModel, dtype: torch.dtype) -> None:
    orient, joints = build_hands(2, 3, dtype=dtype)
    betas, camera = (build_inputs(2, 3, dtype=dtype)[name] for name in ("betas", "camera"))
    plain = ManoLayer(hand)(global_orient=orient, hand_pose=joints, betas=betas)
    found = WeakPoseLayer(hand)(pose=encode_pose(orient, joints, hand), betas=betas, camera=camera)
    wrist = plain.joints[..., :1, :]
    scale = plain.vertices.abs().max().item()
    for ours, theirs in ((found.joints, plain.joints), (found.vertices, plain.vertices)):
        assert ours.dtype == dtype
        torch.testing.assert_close(ours, theirs - wrist, rtol=0, atol=2 * DTYPES[dtype] * scale)
    for flat, points in ((found.joints_2d, found.joints), (found.vertices_2d, found.vertices)):
        for axis in (0, 1):
            wanted = camera[..., None, 0] * points[..., axis] + camera[..., None, 1 + axis] + 0.5
            torch.testing.assert_close(flat[..., axis], wanted)
    assert not found.joints[..., 0, :].any()


def test_convention_zeros_are_upright_from_the_thumbs_side(layer: WeakPoseLayer) -> None:
    """The mean pose; fingers up, the thumb nearest, the palm to the left; the wrist where the camera says."""
    hand = load_hand("open")
    zeros = {"pose": torch.zeros(48), "betas": torch.zeros(10), "camera": torch.tensor([3.3, 0.0, 0.3])}
    found = layer(**zeros)
    mean = ManoLayer(hand)(hand_pose=torch.tensor(hand.hands_mean).float())
    rest = mean.vertices - mean.joints[0]
    upright = torch.stack([rest[:, 1], rest[:, 0], -rest[:, 2]], -1)
    torch.testing.assert_close(found.vertices, upright, rtol=0, atol=1e-7)
    torch.testing.assert_close(found.joints_2d[0], torch.tensor([0.5, 0.8]))
    assert found.joints[12, 1] < -0.1  # the middle finger's tip is above the wrist
    assert found.joints[1:5, 2].max() < 0  # the thumb is nearer than the wrist
    assert found.joints[12, 0] < found.joints[9, 0] - 0.01  # fingers curl towards the palm
    assert 0.3 < found.joints_2d[12, 1] < 0.6


def test_the_turn_comes_after_upright(layer: WeakPoseLayer) -> None:
    inputs = build_inputs()
    still = layer(**{**inputs, "pose": torch.cat([torch.zeros(3), inputs["pose"][3:]])})
    quarter = torch.cat([torch.tensor([0.0, 0.0, math.pi / 2]), inputs["pose"][3:]])
    turned = layer(**{**inputs, "pose": quarter})
    R = rotation_about("z", torch.tensor(math.pi / 2, dtype=torch.float64))
    torch.testing.assert_close(turned.vertices, still.vertices @ R.mT)


def test_its_zero_turn_is_s2hands(layer: WeakPoseLayer) -> None:
    """The two networks start from the same view of the hand, from the origin to the wrist apart."""
    zeros = {"pca": torch.zeros(30), "betas": torch.zeros(10), "orient": torch.zeros(3)}
    K = torch.tensor([[480.0, 0, 112], [0, 480, 112], [0, 0, 1]])
    theirs = ScaledHandLayer(load_hand("open"))(
        **zeros, scale=torch.tensor(1.0), transl=torch.tensor([0.0, 0.0, 0.6]), K=K, width=224
    )
    ours = layer(pose=torch.zeros(48), betas=torch.zeros(10), camera=torch.ones(3))
    torch.testing.assert_close(ours.joints, theirs.joints - theirs.joints[:1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("batch", [(), (1,), (2, 3), (0,), (2, 0)])
def test_leading_dimensions(layer: WeakPoseLayer, batch: tuple[int, ...]) -> None:
    inputs = build_inputs(*batch)
    found, few = layer(**inputs), layer(**inputs, want_vertices=False)
    assert [tuple(part.shape[len(batch) :]) for part in found] == [(21, 3), (778, 3), (21, 2), (778, 2)]
    assert [tuple(part.shape[len(batch) :]) for part in few] == [(21, 3), (0, 3), (21, 2), (0, 2)]
    torch.testing.assert_close(few.joints, found.joints)
    for at in np.ndindex(*batch):
        alone = layer(**{name: value[at] for name, value in inputs.items()})
        for one, all_ in zip(alone, found, strict=True):
            torch.testing.assert_close(one, all_[at])


def test_gradients(layer: WeakPoseLayer) -> None:
    inputs = {name: value.requires_grad_() for name, value in build_inputs(1).items()}

    def some(*values: Tensor) -> tuple[Tensor, ...]:
        found = layer(**dict(zip(inputs, values, strict=True)))
        return found.joints, found.joints_2d, found.vertices[:, ::97], found.vertices_2d[:, ::97]

    assert torch.autograd.gradcheck(some, tuple(inputs.values()))


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(layer: WeakPoseLayer, half: torch.dtype) -> None:
    inputs = {name: value.to(half) for name, value in build_inputs(3).items()}
    exact = layer(**{name: value.float() for name, value in inputs.items()})
    with torch.autocast("cpu", half):
        found = layer(**inputs)
    for points, expected in zip(found, exact, strict=True):
        assert points.dtype == torch.float32
        torch.testing.assert_close(points, expected, atol=1e-6, rtol=1e-5)


def test_it_takes_its_inputs_precision_after_a_cast() -> None:
    """Upright is a permutation of the axes, so a cast of the layer loses nothing of it."""
    layer, inputs = WeakPoseLayer(load_hand("open")), build_inputs(2)
    expected = layer(**inputs).vertices
    assert torch.equal(layer.half()(**inputs).vertices, expected)


def test_nothing_of_it_enters_a_checkpoint(layer: WeakPoseLayer) -> None:
    assert not layer.state_dict()
    assert not list(layer.parameters())
