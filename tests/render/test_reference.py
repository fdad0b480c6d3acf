"""The plain soft renderer: its derivatives, its memory-saving parts, and another package's figures."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from handkit.render import reference as plain
from handkit.render import soft_render, soft_silhouette
from tests.render.scenes import MODES, OPTICS, double, random_mesh, silhouette_and_gradient, surface


def test_silhouette_gradcheck() -> None:
    vertices, faces = random_mesh(1, batch=1, vertices=5, faces=3)
    leaf = (vertices.double() * torch.tensor([0.25, 0.25, 1.0])).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda v: soft_silhouette(v, faces, size=(5, 6), sigma=2, backend="reference"), leaf
    )


@pytest.mark.parametrize("mode", MODES)
def test_render_gradcheck(mode: str) -> None:
    vertices, faces = random_mesh(2, batch=1, vertices=5, faces=3)
    vertices = vertices.double() * torch.tensor([0.2, 0.2, 1.0])
    parts = double(surface(mode, vertices, faces))

    def draw(*leaves: torch.Tensor) -> tuple[torch.Tensor, ...]:
        named: dict[str, Any] = dict(zip(parts, leaves[1:], strict=True))
        settings: dict[str, Any] = {"size": (4, 5), "sigma": 2.0, "gamma": 0.2, "backend": "reference", **OPTICS}
        return tuple(soft_render(leaves[0], faces, **named, **settings))

    leaves = [leaf.clone().requires_grad_() for leaf in (vertices, *parts.values())]
    assert torch.autograd.gradcheck(draw, leaves)


def test_silhouette_by_hand() -> None:
    vertices, faces = random_mesh(3, batch=1, vertices=6, faces=4)
    image = soft_silhouette(vertices[0].double(), faces, size=(7, 8), sigma=3, backend="reference")
    for row, column in ((0, 0), (3, 5), (6, 7)):
        clear = 1.0
        for face in faces.tolist():
            corners = vertices[0, face, :2].double().numpy()
            clear *= 1 - _coverage(np.array([column + 0.5, row + 0.5]), corners, 3.0)
        assert image[row, column] == pytest.approx(1 - clear, abs=1e-9)


def _coverage(pixel: np.ndarray, corners: np.ndarray, sigma: float) -> float:
    distances, sides = [], []
    for k in range(3):
        start, edge = corners[k], corners[(k + 1) % 3] - corners[k]
        along = np.clip((pixel - start) @ edge / (edge @ edge), 0, 1)
        distances.append(np.linalg.norm(pixel - start - along * edge))
        sides.append(np.sign(edge[0] * (pixel - start)[1] - edge[1] * (pixel - start)[0]))
    covered = 1 / (1 + np.exp((-1 if abs(sum(sides)) == 3 else 1) * min(distances) ** 2 / sigma))
    return covered if covered >= 1e-6 else 0.0


def test_faces_in_parts_are_faces_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    vertices, faces = random_mesh(4)
    whole = silhouette_and_gradient(vertices.double(), faces, backend="reference")
    monkeypatch.setattr(plain, "_CHUNK_ELEMENTS", 5 * whole[0].numel())
    for found, wanted in zip(
        silhouette_and_gradient(vertices.double(), faces, backend="reference"), whole, strict=True
    ):
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize(
    ("sharpness", "with_gradient"), [("b", False), pytest.param("a", True, marks=pytest.mark.slow)]
)
def test_equals_pytorch3d(reference: Path, sharpness: str, with_gradient: bool) -> None:
    with np.load(reference / "soft_silhouette.npz") as stored:
        arrays = {name: torch.tensor(stored[name]) for name in stored.files}
    vertices = arrays["vertices_px"].requires_grad_(with_gradient)
    sigma = float(arrays[f"sigma_px2_{sharpness}"])
    image = soft_silhouette(vertices, arrays["faces"], size=(96, 96), sigma=sigma, backend="reference")
    assert (image - arrays[f"silhouette_{sharpness}"]).abs().max() < 2e-3
    if with_gradient:
        (gradient,) = torch.autograd.grad((image * arrays["weights"]).sum(), vertices)
        found, wanted = gradient[:, :2].flatten(), arrays[f"grad_xy_{sharpness}"].flatten()
        assert torch.cosine_similarity(found, wanted, dim=0) > 0.999
        assert found.norm() / wanted.norm() == pytest.approx(1, abs=0.01)
