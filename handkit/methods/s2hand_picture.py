"""The picture that S2HAND's numbers make: per-face texture under the light, by the soft rasteriser (3.2.2, 3.2.3)."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from handkit.hand.scaled import ScaledHandOutput
from handkit.methods.s2hand_recipe import RenderRecipe
from handkit.nets.s2hand import S2HandOutput
from handkit.render import SoftImage, soft_render
from handkit.render.shading import face_normals, shade

# The hand is drawn at its own relative depth, one metre away, so that gamma means the same at any distance.
_DEPTH_M, _NEAR_M, _FAR_M = 1.0, 0.5, 1.5
_SEEN = 0.5


def render_hands(
    hand: S2HandOutput,
    out: ScaledHandOutput,
    faces: Int[Tensor, "1538 3"],
    *,
    width: int,
    size: int,
    settings: RenderRecipe,
    background: Float[Tensor, "*B 3 S S"],
) -> SoftImage:
    """Hands of a crop `width` px wide drawn over the crop itself at `size` px, in float32.

    On the picture, not on black, an edge that blends with what is behind it is no error by itself: on black every edge
    pixel would ask the hand to grow.
    """
    assert hand.texture is not None
    assert hand.light is not None
    with torch.autocast(out.vertices.device.type, enabled=False):
        x, y, depth = out.vertices_px.float().unbind(-1)
        near = depth - depth.mean(-1, keepdim=True).detach() + _DEPTH_M
        vertices = torch.stack([x * (size / width), y * (size / width), near], -1)
        colors = shade(hand.texture.float(), face_normals(out.vertices.float(), faces), hand.light.float())
        return soft_render(
            vertices,
            faces,
            size=(size, size),
            sigma=settings.sigma_px2,
            gamma=settings.gamma,
            near=_NEAR_M,
            far=_FAR_M,
            background=background,
            face_colors=colors,
        )


def foreground(picture: SoftImage) -> Float[Tensor, "*B H W"]:
    """1 where the hand is drawn, else 0, without a gradient: S of Eq. 6 and 7, as released."""
    return (picture.alpha.detach() > _SEEN).to(picture.alpha.dtype)


def shrunk(images: Float[Tensor, "*B 3 H W"], size: int) -> Float[Tensor, "*B 3 S S"]:
    """Pictures averaged to `size` px."""
    if images.shape[-1] == size:
        return images
    flat = torch.nn.functional.interpolate(images.flatten(0, -4), (size, size), mode="area")
    return flat.unflatten(0, images.shape[:-3])
