"""Linear blend skinning of the 16-joint hand, in the order of computing: rotations, joint chain, vertices.

Convention: N hands at once; V vertices along the last axis until the end; metres.
"""

from typing import Any, Final

import torch
from torch import Tensor

# q (x) q, a quaternion (w, x, y, z) times itself, to the row-major rotation matrix minus the identity.
_QUADRATIC: Final = {
    "xx": (0, 0, 0, 0, -2, 0, 0, 0, -2),
    "yy": (-2, 0, 0, 0, 0, 0, 0, 0, -2),
    "zz": (-2, 0, 0, 0, -2, 0, 0, 0, 0),
    "xy": (0, 2, 0, 2, 0, 0, 0, 0, 0),
    "xz": (0, 0, 2, 0, 0, 0, 2, 0, 0),
    "yz": (0, 0, 0, 0, 0, 2, 0, 2, 0),
    "wx": (0, 0, 0, 0, 0, -2, 0, 2, 0),
    "wy": (0, 0, 2, 0, 0, 0, -2, 0, 0),
    "wz": (0, -2, 0, 2, 0, 0, 0, 0, 0),
}
_FEW: Final = 8  # below, the calls cost more than the memory
_CHUNK: Final = 64  # hands whose blended maps stay in the cache


def build_quadratic() -> Tensor:
    """The constant [16, 9] that `rotations` needs."""
    letters = "wxyz"
    return torch.tensor([_QUADRATIC.get(a + b, (0,) * 9) for a in letters for b in letters], dtype=torch.float64)


def rotations(axis_angle: Tensor, quadratic: Tensor, identity: Tensor) -> Tensor:
    """Row-major rotation matrices [M, 9] of axis-angle vectors [M, 3], smooth to any order, also at zero.

    `quadratic` is `build_quadratic()`, `identity` the identity matrix as [9]. Written for few operations: a single hand
    costs what its calls cost.
    """
    # The offset keeps 1 / angle finite; the result is exact to rounding since the quotient is multiplied by the vector.
    offset = 1e-12 if axis_angle.dtype == torch.float32 else 1e-30
    angle = ((axis_angle * axis_angle).sum(-1, keepdim=True) + offset).sqrt()
    half = 0.5 * angle
    quaternion = torch.cat([half.cos(), half.sin() / angle * axis_angle], dim=-1)
    squares = (quaternion.unsqueeze(-1) * quaternion.unsqueeze(-2)).flatten(-2)
    return torch.addmm(identity, squares, quadratic)


def joint_maps(matrices: Tensor, rest: Tensor, transl: Tensor | None, bottom: Tensor) -> Tensor:
    """Affine maps [N, 16, 4, 4] from rest to posed space, of rotations [N, 16, 3, 3] about rest joints [N, 16, 3, 1].

    Each map is its parent's after a turn about the joint's own rest position; all five fingers go together, which is
    MANO's tree. `bottom` is the row (0, 0, 0, 1) as [1, 1, 1, 4].
    """
    number = len(matrices)
    about = torch.cat([matrices, rest - matrices @ rest], dim=3)
    turns = torch.cat([about, bottom.expand(number, 16, 1, 4)], dim=2)
    root, fingers = turns.split([1, 15], dim=1)
    if transl is not None:
        root = root + torch.nn.functional.pad(transl.view(number, 1, 3, 1), (3, 0, 0, 1))
    first, second, third = fingers.view(number, 5, 3, 4, 4).unbind(2)
    first = root @ first
    second = first @ second
    third = second @ third
    return torch.cat([root, torch.stack([first, second, third], dim=2).view(number, 15, 4, 4)], dim=1)


def skin(affine: Tensor, shaped: Tensor, weights: Tensor) -> Tensor:
    """`blend` by whichever way is faster."""
    return blend(affine, shaped, weights) if len(shaped) < _FEW else Blend.apply(affine, shaped, weights)


def blend(affine: Tensor, shaped: Tensor, weights: Tensor) -> Tensor:
    """Vertices [N, V, 3]: `shaped` [N, 3, V] under the weighted mean (`weights` [16, V]) of the maps [N, 3, 4, 16]."""
    blended = (affine.reshape(-1, 16) @ weights).view(len(affine), 3, 4, weights.shape[1])
    return ((blended[:, :, :3] * shaped.unsqueeze(1)).sum(2) + blended[:, :, 3]).transpose(1, 2).contiguous()


class Blend(torch.autograd.Function):
    """`blend` with its value and gradient computed through the cache, a few hands at a time."""

    @staticmethod
    def forward(affine: Tensor, shaped: Tensor, weights: Tensor) -> Tensor:
        number, _, size = shaped.shape
        vertices = shaped.new_empty(number, size, 3)
        parts = _parts(shaped)
        blended, moved = _buffers(shaped, parts)
        for part in parts:
            x, y, z = shaped[part].split(1, dim=1)
            maps, posed = blended[: 12 * len(x)], moved[: len(x)]
            torch.mm(affine[part].reshape(-1, 16), weights, out=maps)
            by_x, by_y, by_z, shift = maps.view(-1, 3, 4, size).unbind(2)
            torch.addcmul(shift, by_x, x, out=posed).addcmul_(by_y, y).addcmul_(by_z, z)
            vertices[part] = posed.transpose(1, 2)
        return vertices

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        affine, shaped, weights = ctx.saved_tensors
        if torch.is_grad_enabled():
            return *_blend_gradient(affine, shaped, weights, grad), None
        size = shaped.shape[2]
        d_affine, d_shaped = torch.empty_like(affine), torch.empty_like(shaped)
        parts = _parts(shaped)
        blended, pulled = _buffers(shaped, parts)
        for part in parts:
            count = part.stop - part.start
            maps, pull = blended[: 12 * count], pulled[:count]
            pull.copy_(grad[part].transpose(1, 2))
            torch.mm(affine[part].reshape(-1, 16), weights, out=maps)
            by_row = maps.view(count, 3, 4, size)
            to_x, to_y, to_z = by_row[:, :, :3].unbind(1)
            x, y, z = pull.split(1, dim=1)
            torch.mul(to_x, x, out=d_shaped[part]).addcmul_(to_y, y).addcmul_(to_z, z)
            torch.mul(pull.unsqueeze(2), shaped[part].unsqueeze(1), out=by_row[:, :, :3])
            by_row[:, :, 3] = pull
            torch.mm(maps, weights.T, out=d_affine[part].view(-1, 16))
        return d_affine, d_shaped, None

    @staticmethod
    def jvp(ctx: Any, d_affine: Tensor, d_shaped: Tensor, _: Tensor | None) -> Tensor:
        affine, shaped, weights = ctx.saved_tensors
        linear = affine * affine.new_tensor([1.0, 1.0, 1.0, 0.0]).view(4, 1)
        return blend(d_affine, shaped, weights) + blend(linear, d_shaped, weights)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Tensor) -> tuple[Tensor, int]:
        affine, shaped = (
            tensor.expand(info.batch_size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
            for tensor, dim in zip(inputs[:2], in_dims[:2], strict=True)
        )
        vertices = Blend.apply(affine.flatten(0, 1), shaped.flatten(0, 1), inputs[2])
        return vertices.unflatten(0, affine.shape[:2]), 0


def _parts(shaped: Tensor) -> list[slice]:
    """Slices of the batch: small enough for a processor's cache, all at once on a GPU."""
    number = len(shaped)
    step = _CHUNK if shaped.device.type == "cpu" else max(number, 1)
    return [slice(start, min(start + step, number)) for start in range(0, number, step)]


def _buffers(shaped: Tensor, parts: list[slice]) -> tuple[Tensor, Tensor]:
    """Room for the blended maps and for the vertices of one part."""
    largest, size = max((part.stop - part.start for part in parts), default=0), shaped.shape[2]
    return shaped.new_empty(largest * 12, size), shaped.new_empty(largest, 3, size)


def _blend_gradient(affine: Tensor, shaped: Tensor, weights: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient of `blend` in operations that can be differentiated again."""
    number, _, size = shaped.shape
    pull = grad.transpose(1, 2).unsqueeze(2)
    blended = (affine.reshape(-1, 16) @ weights).view(number, 3, 4, size)
    homogeneous = torch.cat([shaped, torch.ones_like(shaped[:, :1])], dim=1).unsqueeze(1)
    d_affine = ((pull * homogeneous).reshape(-1, size) @ weights.T).view(number, 3, 4, 16)
    return d_affine, (blended[:, :, :3] * pull).sum(1)
