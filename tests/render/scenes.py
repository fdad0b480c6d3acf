"""Small random scenes, and one way to run them, for the tests of the soft renderers."""

from typing import Any

import torch
from torch import Tensor

from handkit.render import SoftImage, soft_render, soft_silhouette

SIZE = (24, 29)
MODES = ("vertex_colors", "face_colors", "texture")
OPTICS: dict[str, Any] = {"near": 0.2, "far": 0.9, "background": (0.1, 0.2, 0.3)}


def random_mesh(seed: int, *, batch: int = 2, vertices: int = 14, faces: int = 18) -> tuple[Tensor, Tensor]:
    """Triangles about the image, many of them partly off it, some nearer or farther than OPTICS; float32."""
    generator = torch.Generator().manual_seed(seed)
    uv = torch.rand(batch, vertices, 2, generator=generator) * 44 - 8
    depth = torch.rand(batch, vertices, 1, generator=generator) * 0.8 + 0.15
    corners = torch.stack([torch.randperm(vertices, generator=generator)[:3] for _ in range(faces)])
    return torch.cat([uv, depth], -1), corners


def surface(mode: str, vertices: Tensor, faces: Tensor, seed: int = 0) -> dict[str, Tensor]:
    """What soft_render takes for a mode, random; (u, v) reach past the texture's borders."""
    generator = torch.Generator().manual_seed(seed)
    batch, count = vertices.shape[:2]
    if mode == "vertex_colors":
        return {mode: torch.rand(batch, count, 3, generator=generator)}
    if mode == "face_colors":
        return {mode: torch.rand(batch, len(faces), 3, generator=generator)}
    uvs = torch.rand(len(faces), 3, 2, generator=generator) * 1.2 - 0.1
    return {"texture": torch.rand(batch, 3, 7, 5, generator=generator), "face_uvs": uvs}


def silhouette_and_gradient(
    vertices: Tensor, faces: Tensor, *, backend: Any, sigma: float = 1.5, size: tuple[int, int] = SIZE
) -> tuple[Tensor, Tensor]:
    """The silhouettes, and the gradient of their sum under fixed random weights by the vertices."""
    leaf = vertices.detach().requires_grad_()
    image = soft_silhouette(leaf, faces, size=size, sigma=sigma, backend=backend)
    return image.detach(), torch.autograd.grad((image * weights(image)).sum(), leaf)[0]


def render_and_gradients(
    vertices: Tensor, faces: Tensor, surfaces: dict[str, Tensor], *, backend: Any, **settings: Any
) -> tuple[SoftImage, list[Tensor]]:
    """The images, and gradients by the vertices and by each part of the surface."""
    leaves = [tensor.detach().requires_grad_() for tensor in (vertices, *surfaces.values())]
    named: dict[str, Any] = dict(zip(surfaces, leaves[1:], strict=True))
    image = soft_render(
        leaves[0], faces, **named, backend=backend, **{"size": SIZE, "sigma": 1.5, **OPTICS, **settings}
    )
    loss = torch.stack([(layer * weights(layer)).sum() for layer in image]).sum()
    return image, list(torch.autograd.grad(loss, leaves))


def weights(image: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(image.ndim)
    return torch.rand(image.shape, generator=generator) - 0.3


def double(surfaces: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.double() for name, tensor in surfaces.items()}


def relative(found: Tensor, wanted: Tensor) -> float:
    """Relative L2 distance."""
    return float((found.double() - wanted.double()).norm() / wanted.double().norm())
