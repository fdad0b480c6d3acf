import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck

from handkit.geometry import (
    axis_angle_to_matrix,
    compose_axis_angle,
    geodesic_distance,
    matrix_to_axis_angle,
    matrix_to_rotation_6d,
    mirror_axis_angle,
    mirror_points,
    quaternion_to_axis_angle,
    rotation_6d_to_matrix,
    rotation_about,
)
from handkit.geometry.rotations import axis_angle_to_quaternion

IDENTITY = torch.eye(3, dtype=torch.float64)


@st.composite
def axis_angles(draw, max_angle=math.pi - 1e-6):
    """Any axis; angles from exactly zero to just below pi, the ends drawn often."""
    z, turn = draw(st.floats(-1, 1)), draw(st.floats(0, 2 * math.pi))
    angle = draw(st.one_of(st.floats(0, max_angle), st.sampled_from([0.0, 1e-12, 1e-7, 1e-4, max_angle])))
    side = math.sqrt(1 - z * z)
    return angle * torch.tensor([side * math.cos(turn), side * math.sin(turn), z], dtype=torch.float64)


@given(axis_angles())
def test_axis_angle_round_trip(vector):
    assert torch.allclose(matrix_to_axis_angle(axis_angle_to_matrix(vector)), vector, atol=1e-7)


@given(axis_angles())
def test_matrix_is_the_exponential(vector):
    x, y, z = vector.tolist()
    cross = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    assert torch.allclose(axis_angle_to_matrix(vector), torch.linalg.matrix_exp(cross), atol=1e-11)


@given(axis_angles())
def test_quaternion_round_trip(vector):
    assert torch.allclose(quaternion_to_axis_angle(axis_angle_to_quaternion(vector)), vector, atol=1e-9)


@given(axis_angles(), axis_angles())
def test_compose_is_the_matrix_product(first, second):
    product = axis_angle_to_matrix(second) @ axis_angle_to_matrix(first)
    assert torch.allclose(axis_angle_to_matrix(compose_axis_angle(first, second)), product, atol=1e-9)


@given(axis_angles(), st.tuples(*[st.floats(-1, 1)] * 3))
def test_mirrored_rotation_acts_as_in_the_mirror(vector, point):
    x = torch.tensor(point, dtype=torch.float64)
    mirrored = axis_angle_to_matrix(mirror_axis_angle(vector)) @ mirror_points(x)
    assert torch.allclose(mirrored, mirror_points(axis_angle_to_matrix(vector) @ x), atol=1e-12)


@given(axis_angles())
def test_rotation_6d_round_trip(vector):
    matrix = axis_angle_to_matrix(vector)
    assert torch.allclose(rotation_6d_to_matrix(matrix_to_rotation_6d(matrix)), matrix, atol=1e-12)


@given(axis_angles())
def test_geodesic_distance_to_identity_is_the_angle(vector):
    assert geodesic_distance(axis_angle_to_matrix(vector), IDENTITY).item() == pytest.approx(
        vector.norm().item(), abs=1e-6
    )


@pytest.mark.parametrize("axis", [[1.0, 0, 0], [0, 1.0, 0], [0, 0, -1.0], [0.6, -0.8, 0]])
def test_half_turn_keeps_the_rotation(axis):
    vector = math.pi * torch.tensor(axis, dtype=torch.float64)
    matrix = axis_angle_to_matrix(vector)
    back = matrix_to_axis_angle(matrix)
    assert back.norm().item() == pytest.approx(math.pi)
    assert torch.allclose(axis_angle_to_matrix(back), matrix, atol=1e-12)


def test_convention_mirror_and_axes():
    vector = torch.tensor([0.1, 0.2, 0.3])
    assert torch.equal(mirror_axis_angle(vector), torch.tensor([0.1, -0.2, -0.3]))
    assert torch.equal(mirror_points(vector), torch.tensor([-0.1, 0.2, 0.3]))
    quarter = torch.tensor(math.pi / 2, dtype=torch.float64)
    x, y, z = IDENTITY
    assert torch.allclose(rotation_about("z", quarter) @ x, y)
    assert torch.allclose(rotation_about("x", quarter) @ y, z)
    assert torch.allclose(rotation_about("y", quarter) @ z, x)


def test_batch_dimensions_and_dtypes():
    for dtype in (torch.float32, torch.float64):
        vectors = torch.randn(2, 5, 3, dtype=dtype)
        matrices = axis_angle_to_matrix(vectors)
        assert matrices.shape == (2, 5, 3, 3)
        assert matrices.dtype == dtype
        assert torch.allclose(matrices[1, 3], axis_angle_to_matrix(vectors[1, 3]), atol=1e-6)


@pytest.mark.parametrize("angle", [0.0, 1e-9, 0.5, math.pi - 1e-3])
@pytest.mark.parametrize("function", [axis_angle_to_matrix, axis_angle_to_quaternion])
def test_gradient(function, angle):
    vector = (angle * torch.tensor([[0.48, 0.6, 0.64]], dtype=torch.float64)).requires_grad_()
    assert gradcheck(function, vector, atol=1e-5)


@pytest.mark.parametrize("angle", [0.0, 0.5, math.pi - 1e-3])
def test_gradient_through_matrix_and_back(angle):
    vector = (angle * torch.tensor([0.48, 0.6, 0.64], dtype=torch.float64)).requires_grad_()
    jacobian = torch.autograd.functional.jacobian(lambda v: matrix_to_axis_angle(axis_angle_to_matrix(v)), vector)
    assert torch.allclose(jacobian, IDENTITY, atol=1e-6)
