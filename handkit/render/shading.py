"""Ambient and one directional light on faces or vertices, differentiable down to the light.

Convention: a light is 11 numbers, as S2HAND's network gives them: ambient intensity, directional intensity, ambient
RGB (3), directional RGB (3), direction (3) in camera axes. The direction points from the hand to the lamp; it is used
as it is, so its length scales the intensity. Normals point out of faces that are counter-clockwise from outside.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

_TINY = 1e-30


class Light(NamedTuple):
    """The 11 numbers by name."""

    ambient_intensity: Float[Tensor, "*B 1"]
    directional_intensity: Float[Tensor, "*B 1"]
    ambient_rgb: Float[Tensor, "*B 3"]
    directional_rgb: Float[Tensor, "*B 3"]
    direction: Float[Tensor, "*B 3"]


def split_light(light: Float[Tensor, "*B 11"]) -> Light:
    """The parts of a light's 11 numbers."""
    if light.shape[-1] != 11:
        raise ValueError(f"light is {list(light.shape)}; it should end in [11]")
    return Light(*light.split([1, 1, 3, 3, 3], dim=-1))


def shade(
    colors: Float[Tensor, "*#B N 3"], normals: Float[Tensor, "*#B N 3"], light: Float[Tensor, "*#B 11"]
) -> Float[Tensor, "*B N 3"]:
    """Colours under the light: colour * (ambient + directional * max(normal . direction, 0)); not cut to [0, 1].

    N are faces or vertices, normals as posed (S2HAND 3.2.2; its Eq. 22 has zero-pose normals and no maximum, its code
    the maximum). A texture is lit by multiplying its image with one of `shade(ones, ...)` drawn as vertex colours.
    """
    facing = (normals @ split_light(light).direction[..., None]).clamp_min(0)
    return colors * _brightness(facing, light)


def lighted_texture(
    texture: Float[Tensor, "*#B F 3"], normals: Float[Tensor, "*#B F 3"], light: Float[Tensor, "*#B 11"]
) -> Float[Tensor, "*B F 3"]:
    """S2HAND(V) Eq. 22: C^L = (l^a l_c^a + (n^d . n_i) l^d l_c^d) C, with no maximum: faces turned away get darker.

    What Eq. 21 compares between frames, not what is seen: `normals` are those of the hand in zero pose.
    """
    return texture * _brightness(normals @ split_light(light).direction[..., None], light)


def face_normals(vertices: Float[Tensor, "*B V 3"], faces: Int[Tensor, " F 3"]) -> Float[Tensor, "*B F 3"]:
    """Unit outward normals; zero, with finite gradients, where a face has no area."""
    return _unit(_area_normals(vertices, faces))


def vertex_normals(vertices: Float[Tensor, "*B V 3"], faces: Int[Tensor, " F 3"]) -> Float[Tensor, "*B V 3"]:
    """Unit means of the area-weighted normals of the faces about each vertex; zero at a vertex without faces."""
    by_corner = _area_normals(vertices, faces).repeat_interleave(3, dim=-2)
    return _unit(torch.zeros_like(vertices).index_add(-2, faces.flatten(), by_corner))


def _brightness(facing: Tensor, light: Tensor) -> Tensor:
    parts = split_light(light)
    ambient = (parts.ambient_intensity * parts.ambient_rgb)[..., None, :]
    return ambient + (parts.directional_intensity * parts.directional_rgb)[..., None, :] * facing


def _area_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    a, b, c = (vertices[..., faces[:, k], :] for k in range(3))
    return torch.linalg.cross(b - a, c - a)


def _unit(vectors: Tensor) -> Tensor:
    # Scaled first: squared areas of a hand's faces in square metres leave float32's range soon.
    scaled = vectors * 1e4
    return scaled * scaled.square().sum(-1, keepdim=True).clamp_min(_TINY).rsqrt()
