"""All vertices and the normal equations against the layer and autograd."""

import pytest
import torch

from handkit.fit.fitting import joint_model, pose_prior
from handkit.fit.kinematics import Pose
from handkit.fit.mesh_model import MeshModel
from handkit.fit.mesh_objective import MeshObjective
from handkit.geometry import axis_angle_to_matrix
from handkit.hand import load_hand

from .hands import known_hands


@pytest.fixture(scope="module")
def model():
    hand = load_hand("open")
    return MeshModel(hand, joint_model(hand))


def pose_of(known):
    return Pose(axis_angle_to_matrix(known["orient"]), known["transl"], known["angles"])


def objective_of(model, known):
    generator = torch.Generator().manual_seed(0)
    points = torch.tensor(known["vertices"]).mT
    precision = torch.rand(points.shape, generator=generator, dtype=torch.float64) / 0.004**2
    noisy = points + 0.005 * torch.randn(points.shape, generator=generator, dtype=torch.float64)
    return MeshObjective(model, pose_prior(0.1), noisy, precision)


def jacobian_of(model, pose, betas):
    """[B,3,V,61] by automatic differentiation."""

    def vertices(step):
        return model.posed(pose.moved(step[:, :51]), betas + step[:, 51:]).vertices.sum(0)

    step = torch.zeros(len(betas), 61, dtype=torch.float64)
    return torch.autograd.functional.jacobian(vertices, step, vectorize=True).movedim(2, 0)


def test_vertices_are_the_layers(model):
    known = known_hands(4)
    mesh = model.posed(pose_of(known), known["betas"])
    torch.testing.assert_close(mesh.vertices.mT, torch.tensor(known["vertices"]), atol=1e-12, rtol=0)


def test_normal_equations_are_those_of_the_jacobian(model):
    known = known_hands(2)
    pose, generator = pose_of(known), torch.Generator().manual_seed(0)
    mesh = model.posed(pose, known["betas"])
    residual, weight = torch.rand(2, *mesh.vertices.shape, generator=generator, dtype=torch.float64)
    g, H = model.normal_equations(mesh, residual, weight)
    J = jacobian_of(model, pose, known["betas"])
    torch.testing.assert_close(g, torch.einsum("biv,bivp->bp", weight * residual, J), atol=1e-10, rtol=1e-10)
    # H leaves the correctives' turning out
    expected = torch.einsum("bivp,biv,bivq->bpq", J, weight, J)
    scale = torch.diagonal(expected, dim1=1, dim2=2).sqrt()
    assert ((H - expected) / (scale[:, :, None] * scale[:, None])).abs().max() < 0.1
    bent = slice(6, 51)
    still = [i for i in range(61) if not bent.start <= i < bent.stop]
    torch.testing.assert_close(H[:, still][:, :, still], expected[:, still][:, :, still], atol=1e-10, rtol=1e-10)


def test_without_correctives_the_matrix_is_exact(model):
    known = known_hands(2)
    hand = load_hand("open")
    plain = MeshModel(hand, joint_model(hand))
    plain.correctives = torch.zeros_like(model.correctives)
    mesh = plain.posed(pose_of(known), known["betas"])
    J = jacobian_of(plain, pose_of(known), known["betas"])
    weight = torch.rand(mesh.vertices.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    _, H = plain.normal_equations(mesh, torch.zeros_like(weight), weight)
    torch.testing.assert_close(H, torch.einsum("bivp,biv,bivq->bpq", J, weight, J), atol=1e-10, rtol=1e-10)


def test_the_objectives_gradient_is_that_of_its_cost(model):
    known = known_hands(2)
    objective, pose, betas = objective_of(model, known), pose_of(known), known["betas"]
    _, g, _ = objective.linearise(pose, betas)
    step = torch.zeros(2, 61, dtype=torch.float64)
    for i in (0, 4, 6, 7, 8, 25, 50, 51, 60):
        forth = step.clone()
        forth[:, i] = 1e-6
        after, before = (objective.linearise(pose.moved(s[:, :51]), betas + s[:, 51:])[0] for s in (forth, -forth))
        torch.testing.assert_close((after - before) / 4e-6, g[:, i], atol=1e-2, rtol=1e-5)
