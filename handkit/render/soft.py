"""Differentiable rendering: soft silhouettes, colour and depth, with gradients to vertices, colours and textures.

Convention: vertices_px [*B, V, 3] are (pixel x, pixel y, depth in metres away from the camera), pixel centres at +0.5;
sigma in square pixels; images are CHW. Faces are drawn from both sides. Backends: "reference" (dense torch, any dtype),
"cpu" (numba), "cuda" (Triton), "auto" by the vertices' device; "cpu" and "cuda" compute in float32. Faces that reach
nearer than 1 mm, are not finite or have no area are left out, with no gradient.
"""

import math
from collections.abc import Sequence
from types import ModuleType
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from handkit.errors import HandkitError
from handkit.geometry.cameras import project, weak_perspective

Backend = Literal["auto", "reference", "cpu", "cuda"]


class SoftImage(NamedTuple):
    """A rendered image: colour over the background, silhouette in [0, 1], depth in metres (0 where nothing is)."""

    rgb: Float[Tensor, "*B C H W"]
    alpha: Float[Tensor, "*B H W"]
    depth: Float[Tensor, "*B H W"]


def soft_silhouette(
    vertices_px: Float[Tensor, "*B V 3"],
    faces: Int[Tensor, " F 3"],
    *,
    size: tuple[int, int],
    sigma: float,
    backend: Backend = "auto",
) -> Float[Tensor, "*B H W"]:
    """The soft silhouette 1 - prod(1 - sigmoid(sign d^2 / sigma)) of a mesh (SoftRas), for images of size (H, W)."""
    faces = _checked(vertices_px, faces, size, sigma)
    batch = vertices_px.shape[:-2]
    image = _module(backend, vertices_px).silhouette(_flat(vertices_px, 2), faces, size=tuple(size), sigma=float(sigma))
    return image.reshape(*batch, *size)


def soft_render(
    vertices_px: Float[Tensor, "*B V 3"],
    faces: Int[Tensor, " F 3"],
    *,
    size: tuple[int, int],
    sigma: float,
    gamma: float,
    near: float,
    far: float,
    background: float | Sequence[float] | Tensor,
    vertex_colors: Float[Tensor, "*#B V C"] | None = None,
    face_colors: Float[Tensor, "*#B F C"] | None = None,
    texture: Float[Tensor, "*#B C Ht Wt"] | None = None,
    face_uvs: Float[Tensor, " F 3 2"] | None = None,
    backend: Backend = "auto",
) -> SoftImage:
    """Colour, silhouette and depth of a mesh by SoftRas' depth-weighted means.

    Give one of vertex_colors, face_colors, or texture with face_uvs (u right, v down, in [0, 1]). gamma is the softness
    along the depth, which runs from near to far (metres); background one value, C values, or an image [*#B, C, H, W].
    """
    faces = _checked(vertices_px, faces, size, sigma)
    if not (gamma > 0 and 0 < near < far):
        raise ValueError(f"gamma {gamma}, near {near}, far {far}: gamma > 0 and 0 < near < far are needed")
    batch = vertices_px.shape[:-2]
    values = _corner_values(vertices_px, faces, vertex_colors, face_colors, texture, face_uvs)
    if texture is not None:
        texture = _flat(texture.to(vertices_px.dtype).expand(*batch, *texture.shape[-3:]), 3)
    module = _module(backend, vertices_px)
    layers = module.layers(
        _flat(vertices_px, 2),
        faces,
        _flat(values, 3),
        texture,
        size=tuple(size),
        sigma=float(sigma),
        gamma=float(gamma),
        near=float(near),
        far=float(far),
    )
    foreground, behind, alpha, depth = (layer.reshape(*batch, *layer.shape[1:]) for layer in layers)
    canvas = _canvas(background, foreground)
    return SoftImage(foreground + behind.unsqueeze(-3) * canvas, alpha, depth)


def to_pixels(vertices_cam: Float[Tensor, "*#B V 3"], K: Float[Tensor, "*#B 3 3"]) -> Float[Tensor, "*B V 3"]:
    """Pixel x, y and unchanged depth of points in a pinhole camera's frame (metres)."""
    uv = project(vertices_cam, K)
    return torch.cat([uv, vertices_cam[..., 2:].expand(*uv.shape[:-1], 1)], -1)


def to_pixels_weak(
    vertices: Float[Tensor, "*#B V 3"],
    scale: Float[Tensor, "*#B"],
    rotation: Float[Tensor, "*#B 3 3"],
    translation: Float[Tensor, "*#B 2"],
    *,
    depth: float = 1.0,
) -> Float[Tensor, "*B V 3"]:
    """Pixel x, y by weak perspective (scale in pixels a metre), and the rotated z plus `depth` metres."""
    uv = weak_perspective(vertices, scale, rotation, translation)
    z = (vertices @ rotation[..., 2:, :].transpose(-1, -2)) + depth
    return torch.cat([uv, z.expand(*uv.shape[:-1], 1)], -1)


def _checked(vertices_px: Tensor, faces: Tensor, size: tuple[int, int], sigma: float) -> Tensor:
    if vertices_px.ndim < 2 or vertices_px.shape[-1] != 3 or not vertices_px.is_floating_point():
        raise ValueError(f"vertices_px is {vertices_px.dtype} {list(vertices_px.shape)}, not floats [*B, V, 3]")
    if faces.ndim != 2 or faces.shape[-1] != 3 or faces.is_floating_point():
        raise ValueError(f"faces is {faces.dtype} {list(faces.shape)}, not integers [F, 3]")
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"size {size} is not (H, W) of at least one pixel")
    if not sigma > 0:
        raise ValueError(f"sigma {sigma} is not positive")
    # both ends at once: on a GPU this is the call's only wait
    low, high = torch.stack(faces.aminmax()).tolist() if len(faces) else (0, 0)
    if not 0 <= low <= high < max(vertices_px.shape[-2], 1):
        raise ValueError(f"faces index {low}..{high} of {vertices_px.shape[-2]} vertices")
    return faces.to(device=vertices_px.device, dtype=torch.int64)


def _corner_values(
    vertices_px: Tensor,
    faces: Tensor,
    vertex_colors: Tensor | None,
    face_colors: Tensor | None,
    texture: Tensor | None,
    face_uvs: Tensor | None,
) -> Tensor:
    """What is interpolated over each face [*B, F, 3, A]: colours, or (u, v) for a texture."""
    if sum(source is not None for source in (vertex_colors, face_colors, texture)) != 1:
        raise ValueError("give exactly one of vertex_colors, face_colors and texture")
    if (texture is None) != (face_uvs is None):
        raise ValueError("texture and face_uvs go together")
    count = len(faces)
    if vertex_colors is not None:
        _check_ending(vertex_colors, "vertex_colors", 2, (vertices_px.shape[-2], None))
        values = vertex_colors[..., faces, :]
    elif face_colors is not None:
        _check_ending(face_colors, "face_colors", 2, (count, None))
        values = face_colors[..., None, :].expand(*face_colors.shape[:-1], 3, -1)
    else:
        assert texture is not None
        assert face_uvs is not None
        _check_ending(texture, "texture", 3, (None, None, None))
        _check_ending(face_uvs, "face_uvs", 3, (count, 3, 2))
        values = face_uvs
    values = values.to(device=vertices_px.device, dtype=vertices_px.dtype)
    return values.expand(*vertices_px.shape[:-2], *values.shape[-3:])


def _canvas(background: float | Sequence[float] | Tensor, like: Tensor) -> Tensor:
    canvas = torch.as_tensor(background, dtype=like.dtype, device=like.device)
    if canvas.ndim == 1:
        canvas = canvas[:, None, None]
    if canvas.ndim in (0, 3) and all(n in (1, m) for n, m in zip(canvas.shape, like.shape[-3:], strict=False)):
        return canvas
    if canvas.ndim > 3 and canvas.shape[-3:] == like.shape[-3:]:
        return canvas
    raise ValueError(f"background is {list(canvas.shape)}; it should be one value, {like.shape[-3]} or an image")


def _check_ending(tensor: Tensor, name: str, dims: int, ending: tuple[int | None, ...]) -> None:
    shape = tensor.shape[-dims:]
    if tensor.ndim < dims or any(n is not None and n != m for n, m in zip(ending, shape, strict=True)):
        wanted = ", ".join("any" if n is None else str(n) for n in ending)
        raise ValueError(f"{name} is {list(tensor.shape)}; it should end in [{wanted}]")


def _flat(tensor: Tensor, dims: int) -> Tensor:
    """One leading dimension, however many there were."""
    return tensor.reshape(math.prod(tensor.shape[:-dims]), *tensor.shape[-dims:])


def _module(backend: str, vertices_px: Tensor) -> ModuleType:
    if backend == "auto":
        backend = "cuda" if vertices_px.is_cuda else "cpu"
    if backend == "reference":
        from handkit.render import reference

        return reference
    if backend == "cpu":
        from handkit.render import cpu

        if vertices_px.device.type != "cpu":
            raise HandkitError(f"the cpu renderer got a tensor on {vertices_px.device}", "use backend='auto'")
        return cpu
    if backend == "cuda":
        try:
            from handkit.render import triton_soft
        except ImportError as error:
            raise HandkitError("the cuda renderer needs Triton", "pip install triton") from error
        return triton_soft
    raise ValueError(f"backend {backend!r} is not one of auto, reference, cpu, cuda")
