"""The entry points: batches, cameras, what each backend must do alike, and what is refused."""

from typing import Any

import pytest
import torch
from torch import Tensor

from handkit.errors import HandkitError
from handkit.geometry.cameras import default_K
from handkit.render import soft_render, soft_silhouette, to_pixels, to_pixels_weak
from handkit.render.shading import face_normals, shade
from tests.render.scenes import MODES, OPTICS, SIZE, random_mesh, render_and_gradients, silhouette_and_gradient, surface

BACKENDS = ("reference", "cpu")
ONE = torch.tensor([[[4.0, 4.0, 0.5], [20.0, 5.0, 0.5], [9.0, 19.0, 0.5]]])
FACE = torch.tensor([[0, 1, 2]])


@pytest.mark.parametrize("backend", BACKENDS)
def test_convention_of_one_triangle(backend: Any) -> None:
    square = torch.tensor([[2.0, 2.0, 1.0], [6.0, 2.0, 1.0], [6.0, 8.0, 1.0], [2.0, 8.0, 1.0]])
    image = soft_silhouette(square, torch.tensor([[0, 1, 2]]), size=(10, 12), sigma=0.5, backend=backend)
    assert image.shape == (10, 12)
    # Column 5, row 2 has its centre at (5.5, 2.5), half a pixel inside; column 6 half a pixel outside.
    inside, outside = torch.sigmoid(torch.tensor([0.5, -0.5])).tolist()
    assert image[2, 5] == pytest.approx(inside, abs=1e-6)
    assert image[3, 6] == pytest.approx(outside, abs=1e-6)
    assert image[9, 0] == 0
    back = soft_silhouette(square, torch.tensor([[2, 1, 0]]), size=(10, 12), sigma=0.5, backend=backend)
    torch.testing.assert_close(back, image)


@pytest.mark.parametrize("backend", BACKENDS)
def test_moving_the_mesh_moves_the_image(backend: Any) -> None:
    vertices, faces = random_mesh(1)
    parts = surface("texture", vertices, faces)
    still, _ = render_and_gradients(vertices, faces, parts, backend=backend, gamma=0.01, size=(40, 40))
    shift = torch.tensor([3.0, -5.0, 0.0])
    moved, _ = render_and_gradients(vertices + shift, faces, parts, backend=backend, gamma=0.01, size=(40, 40))
    for before, after in zip(still, moved, strict=True):
        # Rounding of the shifted coordinates, through gamma.
        torch.testing.assert_close(after[..., :35, 3:], before[..., 5:, :37], atol=2e-4, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_leading_dimensions_are_kept_and_a_batch_is_a_loop(backend: Any) -> None:
    vertices, faces = random_mesh(2, batch=6)
    parts = surface("vertex_colors", vertices, faces)
    settings: Any = {"size": SIZE, "sigma": 1.0, "backend": backend}
    image = soft_render(
        vertices.unflatten(0, (2, 3)),
        faces,
        vertex_colors=parts["vertex_colors"].unflatten(0, (2, 3)),
        gamma=0.01,
        **OPTICS,
        **settings,
    )
    assert image.rgb.shape == (2, 3, 3, *SIZE)
    alone = soft_render(vertices[4], faces, vertex_colors=parts["vertex_colors"][4], gamma=0.01, **OPTICS, **settings)
    for many, one in zip(image, alone, strict=True):
        torch.testing.assert_close(many[1, 1], one)
    torch.testing.assert_close(image.alpha[1, 1], soft_silhouette(vertices[4], faces, **settings))
    assert soft_silhouette(vertices[:0], faces, **settings).shape == (0, *SIZE)
    assert not soft_silhouette(vertices, faces[:0], **settings).any()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("mode", MODES)
def test_what_cannot_be_drawn_leaves_no_trace(backend: Any, mode: str) -> None:
    vertices, faces = random_mesh(3, faces=6)
    bad = torch.tensor(
        [[5.0, 5, -0.3], [9, 9, 0], [float("nan"), 4, 0.5], [float("inf"), 4, 0.5], [1e30, 1e30, 0.5], [3, 3, 9e-4]]
    )
    first = vertices.shape[1]
    more = torch.cat([vertices, bad.expand(len(vertices), -1, -1)], 1)
    unusable = torch.tensor([[0, 1, first + k] for k in range(len(bad))] + [[2, 2, 3], [4, 4, 4]])
    parts = surface(mode, more, torch.cat([faces, unusable]))
    fewer = {
        "vertex_colors": lambda part: part[:, :first],
        "face_colors": lambda part: part[:, : len(faces)],
        "face_uvs": lambda part: part[: len(faces)],
        "texture": lambda part: part,
    }
    kept = {name: fewer[name](part) for name, part in parts.items()}
    wanted, wanted_gradients = render_and_gradients(vertices, faces, kept, backend=backend, gamma=0.01)
    found, gradients = render_and_gradients(more, torch.cat([faces, unusable]), parts, backend=backend, gamma=0.01)
    for layer, wanted_layer in zip(found, wanted, strict=True):
        torch.testing.assert_close(layer, wanted_layer)
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert not gradients[0][:, first:].any()
    torch.testing.assert_close(gradients[0][:, :first], wanted_gradients[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_off_screen_and_full_screen(backend: Any) -> None:
    away, gradient = silhouette_and_gradient(ONE + 500, FACE, backend=backend)
    assert not away.any()
    assert not gradient.any()
    around = torch.tensor([[[-300.0, -300, 0.5], [900, -300, 0.5], [-300, 900, 0.5]]])
    full, gradient = silhouette_and_gradient(around, FACE, backend=backend)
    assert (full == 1).all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_colours_behind_and_in_front(backend: Any) -> None:
    near, far = ONE.clone(), ONE.clone()
    near[..., 2], far[..., 2] = 0.3, 0.6
    colors = torch.tensor([[1.0, 0, 0], [0, 1, 0]])
    settings: Any = {"size": SIZE, "sigma": 0.1, "gamma": 1e-3, "backend": backend, **OPTICS}
    for order, color in (([near, far], colors[0]), ([far, near], colors[1])):
        both = torch.cat(order, 1)[0]
        image = soft_render(both, torch.tensor([[0, 1, 2], [3, 4, 5]]), face_colors=colors, **settings)
        torch.testing.assert_close(image.rgb[:, 9, 10], color, atol=1e-5, rtol=0)
        assert image.depth[9, 10] == pytest.approx(0.3, abs=1e-5)
    torch.testing.assert_close(image.rgb[:, 20, 27], torch.tensor(OPTICS["background"]))
    assert image.depth[20, 27] == 0
    # Beyond `far` a face keeps its silhouette and loses its colour.
    settings["far"] = 0.4
    image = soft_render(far[0], FACE, face_colors=colors[:1], **settings)
    torch.testing.assert_close(image.rgb[:, 9, 10], torch.tensor(OPTICS["background"]))
    assert image.alpha[9, 10] > 0.99


@pytest.mark.parametrize("backend", BACKENDS)
def test_texture_convention(backend: Any) -> None:
    # Two triangles over the whole image carry the texture's square onto it: texel (row, column) on pixel (row, column).
    corners = torch.tensor([[0.0, 0, 0.5], [6, 0, 0.5], [6, 4, 0.5], [0, 4, 0.5]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    uvs = (corners[:, :2] / torch.tensor([6.0, 4.0]))[faces]
    texture = torch.rand(3, 4, 6, generator=torch.Generator().manual_seed(0))
    image = soft_render(
        corners, faces, size=(4, 6), sigma=1e-3, gamma=1e-4, texture=texture, face_uvs=uvs, backend=backend, **OPTICS
    )
    torch.testing.assert_close(image.rgb, texture, atol=1e-4, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_interpolation_is_perspective_correct(backend: Any) -> None:
    corners = torch.tensor([[0.0, -9, 0.25], [20, -9, 0.75], [0, 30, 0.25]])
    image = soft_render(
        corners, FACE, size=(4, 20), sigma=1e-3, gamma=1e-3, vertex_colors=corners[:, 2:], backend=backend,
        near=0.1, far=1.0, background=0.0,
    )  # fmt: skip
    column = torch.arange(10) + 0.5
    expected = 1 / ((1 - column / 20) / 0.25 + column / 20 / 0.75)
    torch.testing.assert_close(image.depth[1, :10], expected)
    torch.testing.assert_close(image.rgb[0, 1, :10], expected, atol=1e-4, rtol=0)


def test_a_photograph_behind() -> None:
    photo = torch.rand(3, *SIZE)
    image = soft_render(
        ONE + 500, FACE, size=SIZE, sigma=1, gamma=0.01, near=0.1, far=1, background=photo, face_colors=torch.ones(1, 3)
    )
    torch.testing.assert_close(image.rgb[0], photo)


def test_gradients_reach_camera_and_light() -> None:
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(1, 9, 3, generator=generator) * 0.2 + torch.tensor([-0.1, -0.1, 0.4])
    faces = random_mesh(0, vertices=9)[1]
    K = default_K(SIZE[1], SIZE[0]).float()[None].requires_grad_()
    light = (torch.rand(1, 11, generator=generator) - 0.5).requires_grad_()
    colors = shade(torch.ones(1, len(faces), 3), face_normals(points, faces), light)
    image = soft_render(to_pixels(points, K), faces, size=SIZE, sigma=1, gamma=0.1, face_colors=colors, **OPTICS)
    to_K, to_light = torch.autograd.grad(image.rgb.square().sum(), (K, light))
    assert to_K[0, :2].all()
    assert to_light.all()


def test_cameras_keep_depth() -> None:
    points = torch.tensor([[[0.1, -0.2, 2.0]]])
    K = torch.tensor([[[100.0, 0, 50], [0, 100, 40], [0, 0, 1]]])
    torch.testing.assert_close(to_pixels(points, K), torch.tensor([[[55.0, 30, 2]]]))
    shift = torch.tensor([[7.0, 9.0]])
    weak = to_pixels_weak(points, torch.tensor([10.0]), torch.eye(3)[None], shift, depth=1.5)
    torch.testing.assert_close(weak, torch.tensor([[[8.0, 7, 3.5]]]))


def test_float64_comes_back_as_float64() -> None:
    image, gradient = silhouette_and_gradient(ONE.double(), FACE, backend="auto")
    assert image.dtype == gradient.dtype == torch.float64


def _render(**changes: Any) -> Tensor:
    settings: dict[str, Any] = {
        "vertices_px": ONE, "faces": FACE, "size": SIZE, "sigma": 1.0, "gamma": 0.1, "near": 0.1, "far": 1.0,
        "background": 0.0, "face_colors": torch.ones(1, 3),
    }  # fmt: skip
    return soft_render(**{**settings, **changes}).rgb


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vertices_px": torch.zeros(3, 2)}, r"vertices_px is torch.float32 \[3, 2\]"),
        ({"vertices_px": torch.zeros(3, 3, dtype=torch.int64)}, "not floats"),
        ({"faces": torch.zeros(1, 4, dtype=torch.int64)}, r"faces is torch.int64 \[1, 4\]"),
        ({"faces": torch.tensor([[0, 1, 3]])}, "faces index 0..3 of 3 vertices"),
        ({"faces": torch.tensor([[-1, 1, 2]])}, "faces index -1..2"),
        ({"size": (0, 5)}, r"size \(0, 5\)"),
        ({"sigma": 0.0}, "sigma 0.0"),
        ({"sigma": float("nan")}, "sigma nan"),
        ({"gamma": -1}, "gamma -1"),
        ({"near": 2.0}, "near 2.0"),
        ({"face_colors": torch.ones(2, 3)}, r"face_colors is \[2, 3\]; it should end in \[1, any\]"),
        ({"face_colors": None}, "exactly one"),
        ({"vertex_colors": torch.ones(3, 3)}, "exactly one"),
        ({"face_uvs": torch.ones(1, 3, 2)}, "go together"),
        ({"face_colors": None, "texture": torch.ones(3, 4, 4)}, "go together"),
        ({"background": torch.zeros(2)}, r"background is \[2, 1, 1\]"),
        ({"background": torch.zeros(1, 3)}, r"background is \[1, 3\]"),
        ({"backend": "gl"}, "backend 'gl'"),
    ],
)
def test_refused(changes: dict[str, Any], message: str) -> None:
    assert _render().shape == (1, 3, *SIZE)
    with pytest.raises(ValueError, match=message):
        _render(**changes)


def test_the_cpu_backend_refuses_other_devices() -> None:
    with pytest.raises(HandkitError, match="meta"):
        soft_silhouette(ONE.to("meta"), FACE[:0], size=SIZE, sigma=1, backend="cpu")
