"""The compiled soft renderer against the plain one, in value and gradient."""

from pathlib import Path

import numpy as np
import pytest
import torch

from handkit.geometry.cameras import default_K
from handkit.hand import load_hand
from handkit.render import soft_silhouette, to_pixels
from tests.render.scenes import (
    MODES,
    double,
    random_mesh,
    relative,
    render_and_gradients,
    silhouette_and_gradient,
    surface,
)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("sigma", [0.05, 1.25, 30.0])
def test_silhouette_and_gradient_equal_the_reference(seed: int, sigma: float) -> None:
    vertices, faces = random_mesh(seed)
    wanted, wanted_gradient = silhouette_and_gradient(vertices.double(), faces, backend="reference", sigma=sigma)
    found, gradient = silhouette_and_gradient(vertices, faces, backend="cpu", sigma=sigma)
    assert found.dtype == gradient.dtype == torch.float32
    assert (found - wanted).abs().max() < 1e-5
    assert relative(gradient, wanted_gradient) < 1e-4


@pytest.mark.parametrize("gamma", [1e-4, 1e-2, 1.0])
@pytest.mark.parametrize("mode", MODES)
def test_colour_depth_and_gradients_equal_the_reference(mode: str, gamma: float) -> None:
    for seed in range(3):
        vertices, faces = random_mesh(seed)
        parts = surface(mode, vertices, faces, seed)
        scene = vertices.double(), faces, double(parts)
        wanted, wanted_gradients = render_and_gradients(*scene, backend="reference", gamma=gamma)
        found, gradients = render_and_gradients(vertices, faces, parts, backend="cpu", gamma=gamma)
        for layer, wanted_layer in zip(found, wanted, strict=True):
            assert (layer - wanted_layer).abs().max() < 1e-5
        for gradient, wanted_gradient in zip(gradients, wanted_gradients, strict=True):
            assert relative(gradient, wanted_gradient) < 1e-4


def test_a_hand_across_the_border_equals_the_reference() -> None:
    hand = load_hand("open")
    points = torch.tensor(hand.v_template - hand.v_template.mean(0)) + torch.tensor([0.05, 0.03, 0.35])
    vertices = to_pixels(points[None], default_K(20, 20)[None])
    faces = torch.tensor(hand.faces)
    wanted, wanted_gradient = silhouette_and_gradient(vertices, faces, backend="reference", size=(20, 20))
    found, gradient = silhouette_and_gradient(vertices.float(), faces, backend="cpu", size=(20, 20))
    assert 0.1 < wanted.mean() < 0.9
    assert (found - wanted).abs().max() < 1e-4
    assert relative(gradient, wanted_gradient) < 1e-3


@pytest.mark.parametrize("sharpness", ["a", "b"])
def test_equals_pytorch3d(reference: Path, sharpness: str) -> None:
    with np.load(reference / "soft_silhouette.npz") as stored:
        arrays = {name: torch.tensor(stored[name]) for name in stored.files}
    vertices = arrays["vertices_px"].requires_grad_()
    sigma = float(arrays[f"sigma_px2_{sharpness}"])
    image = soft_silhouette(vertices, arrays["faces"], size=(96, 96), sigma=sigma, backend="cpu")
    assert (image - arrays[f"silhouette_{sharpness}"]).abs().max() < 2e-3
    (gradient,) = torch.autograd.grad((image * arrays["weights"]).sum(), vertices)
    found, wanted = gradient[:, :2].flatten(), arrays[f"grad_xy_{sharpness}"].flatten()
    assert torch.cosine_similarity(found, wanted, dim=0) > 0.999
    assert found.norm() / wanted.norm() == pytest.approx(1, abs=0.01)
    assert not gradient[:, 2].any()


def test_any_number_of_threads_gives_the_same() -> None:
    vertices, faces = random_mesh(5, batch=3)
    parts = surface("texture", vertices, faces)
    before = torch.get_num_threads()
    runs = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            image, gradients = render_and_gradients(vertices, faces, parts, backend="cpu", gamma=0.01)
            runs.append((*image, *gradients, *silhouette_and_gradient(vertices, faces, backend="cpu")))
    finally:
        torch.set_num_threads(before)
    for run in runs[1:]:
        for found, wanted in zip(run, runs[0], strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def test_runs_repeat_to_the_bit() -> None:
    vertices, faces = random_mesh(6, batch=1)
    parts = surface("texture", vertices, faces)
    first, second = (render_and_gradients(vertices, faces, parts, backend="cpu", gamma=0.01) for _ in range(2))
    for found, wanted in zip((*first[0], *first[1]), (*second[0], *second[1]), strict=True):
        assert torch.equal(found, wanted)


def test_a_triangle_far_larger_than_the_image() -> None:
    # Its edge x = 12.25 crosses the image; its corners lie a hundred thousand pixels away.
    vertices = torch.tensor([[12.25, -2e5, 0.5], [12.25, 1e5, 0.5], [-3e5, 1e5, 0.5]])
    image = soft_silhouette(vertices, torch.tensor([[0, 1, 2]]), size=(8, 24), sigma=2.0, backend="cpu")
    distance = 12.25 - (torch.arange(24) + 0.5)
    expected = torch.sigmoid(distance.sign() * distance.square() / 2)
    expected[torch.where(distance < 0, -distance.square() / 2 < -np.log(1e6 - 1), False)] = 0
    torch.testing.assert_close(image, expected.expand(8, 24), atol=1e-5, rtol=0)


def test_a_sliver_has_no_inside_beyond_its_tip() -> None:
    vertices = torch.tensor([[4.0, 4.0, 0.5], [14.0, 9.00001, 0.5], [14.0, 9.0, 0.5]])
    faces = torch.tensor([[0, 1, 2]])
    wanted, wanted_gradient = silhouette_and_gradient(vertices.double(), faces, backend="reference", sigma=0.3)
    found, gradient = silhouette_and_gradient(vertices, faces, backend="cpu", sigma=0.3)
    assert (found - wanted).abs().max() < 1e-4
    assert gradient.isfinite().all()
    assert gradient.sum(0)[:2] == pytest.approx(wanted_gradient.sum(0)[:2].numpy(), abs=1e-3)
