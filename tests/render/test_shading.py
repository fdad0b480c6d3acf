"""Light on faces and vertices."""

import pytest
import torch

from handkit.hand import load_hand
from handkit.render.shading import face_normals, lighted_texture, shade, split_light, vertex_normals

# Counter-clockwise seen from z < 0, where the camera is: its outside faces the camera.
TOWARDS_CAMERA = torch.tensor([[0.0, 0, 1], [0, 1, 1], [1, 0, 1]])
FACE = torch.tensor([[0, 1, 2]])


def test_convention_of_the_light() -> None:
    assert face_normals(TOWARDS_CAMERA, FACE).tolist() == [[0, 0, -1]]
    light = torch.tensor([0.5, 2.0, 1.0, 0.8, 0.6, 0.1, 0.2, 0.3, 0.0, 0.0, -1.0])
    assert split_light(light).directional_rgb.tolist() == pytest.approx([0.1, 0.2, 0.3])
    lit = shade(torch.tensor([[1.0, 1, 0.5]]), face_normals(TOWARDS_CAMERA, FACE), light)
    assert lit[0].tolist() == pytest.approx([0.5 + 0.2, 0.4 + 0.4, 0.5 * (0.3 + 0.6)])
    light[-1] = 1.0  # a lamp behind the face leaves the ambient light
    lit = shade(torch.ones(1, 3), face_normals(TOWARDS_CAMERA, FACE), light)
    assert lit[0].tolist() == pytest.approx([0.5, 0.4, 0.3])


def test_normals_of_the_hand_point_outwards_and_turn_with_it() -> None:
    hand = load_hand("open")
    vertices, faces = torch.tensor(hand.v_template), torch.tensor(hand.faces)
    smooth, flat = vertex_normals(vertices, faces), face_normals(vertices, faces)
    torch.testing.assert_close(smooth.norm(dim=-1), torch.ones(len(vertices), dtype=torch.float64))
    assert (vertices[:, 1] * smooth[:, 1]).sum() > 0  # outwards along the thickness of the hand
    agreement = (flat[:, None] * smooth[faces]).sum(-1)
    assert agreement.mean() > 0.9
    turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
    turn = turn * turn.det()
    torch.testing.assert_close(vertex_normals(vertices @ turn.T, faces), smooth @ turn.T)
    # Millimetre faces in float32 still have unit normals.
    single = face_normals((vertices * 0.1).float(), faces)
    torch.testing.assert_close(single.double(), flat, atol=1e-3, rtol=0)


def test_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    vertices = torch.randn(2, 5, 3, dtype=torch.float64, generator=generator).requires_grad_()
    light = torch.randn(2, 11, dtype=torch.float64, generator=generator).requires_grad_()
    colors = torch.rand(2, 5, 3, dtype=torch.float64, generator=generator).requires_grad_()
    faces = torch.tensor([[0, 1, 2], [0, 2, 3], [1, 4, 2]])
    assert torch.autograd.gradcheck(lambda v, c, b: shade(c, vertex_normals(v, faces), b), (vertices, colors, light))


def test_a_face_without_area_has_finite_gradients() -> None:
    vertices = torch.zeros(3, 3).requires_grad_()
    normals = face_normals(vertices, FACE)
    assert not normals.any()
    assert torch.autograd.grad(normals.sum(), vertices)[0].isfinite().all()


def test_a_light_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"light is \[9\]"):
        shade(torch.ones(1, 3), torch.ones(1, 3), torch.ones(9))


def test_lighted_texture_is_equation_22_face_by_face() -> None:
    generator = torch.Generator().manual_seed(1)
    texture = torch.rand(2, 3, 5, 3, dtype=torch.float64, generator=generator).requires_grad_()
    normals = torch.randn(5, 3, dtype=torch.float64, generator=generator).requires_grad_()
    light = torch.randn(2, 3, 11, dtype=torch.float64, generator=generator).requires_grad_()
    lit = lighted_texture(texture, normals, light)
    facing = torch.einsum("fk,mnk->mnf", normals, light[..., 8:])
    assert (facing < 0).any()
    for m, n, face in torch.cartesian_prod(*map(torch.arange, lit.shape[:3])).tolist():
        ambient, directional, ambient_rgb, directional_rgb, direction = light[m, n].split([1, 1, 3, 3, 3])
        cosine = sum(direction[k] * normals[face, k] for k in range(3))
        expected = (ambient * ambient_rgb + cosine * directional * directional_rgb) * texture[m, n, face]
        torch.testing.assert_close(lit[m, n, face], expected)
    assert torch.autograd.gradcheck(lighted_texture, (texture, normals, light))
    # Its own normals for every frame; the shading drawn is the same where all faces are turned to the lamp.
    torch.testing.assert_close(lighted_texture(texture, normals.expand(2, 3, 5, 3), light), lit)
    turned = normals * facing[1, 2].sign()[:, None]
    lamp = light[1, 2]
    torch.testing.assert_close(lighted_texture(texture, turned, lamp), shade(texture, turned, lamp))


def test_convention_lighted_texture_darkens_faces_turned_away() -> None:
    light = torch.tensor([0.5, 2.0, 1.0, 0.8, 0.6, 0.1, 0.2, 0.3, 0.0, 0.0, 1.0])
    lit = lighted_texture(torch.tensor([[1.0, 1, 0.5]]), face_normals(TOWARDS_CAMERA, FACE), light)
    assert lit[0].tolist() == pytest.approx([0.5 - 0.2, 0.4 - 0.4, 0.5 * (0.3 - 0.6)])
