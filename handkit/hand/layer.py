"""The differentiable hand: pose and shape in, mesh and joints out."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from handkit.conventions import OURS_FROM_MANO_AND_TIPS
from handkit.errors import HandkitError
from handkit.hand.model import HandModel
from handkit.hand.skinning import build_quadratic, joint_maps, rotations, skin


class HandOutput(NamedTuple):
    """Metres; the joints in our order, their tips being the model's tip vertices.

    V is 778, or 0 where vertices were not wanted.
    """

    vertices: Float[Tensor, "*B V 3"]
    joints: Float[Tensor, "*B 21 3"]


class _Constants(NamedTuple):
    """A hand's arrays as the layer multiplies them; its vertices, all 778 or the 5 tips, lie along the last axis."""

    template: Tensor  # [3 * V], less what `directions` add for identity rotations
    directions: Tensor  # [10 + 135, 3 * V]
    joint_template: Tensor  # [16 * 3]
    joint_directions: Tensor  # [10, 16 * 3]
    weights: Tensor  # [16, V]
    pose_mean: Tensor | None  # [45]
    components: Tensor | None  # [num_pca, 45]
    quadratic: Tensor  # [16, 9]
    identity: Tensor  # [9]
    bottom: Tensor  # [1, 1, 1, 4]
    tips: Tensor  # [5]
    order: Tensor  # [21]
    has_all: bool


class ManoLayer(nn.Module):
    """Linear blend skinning with MANO's shape and pose correctives.

    With `num_pca` the hand pose is given as that many PCA coefficients; without `flat_hand_mean` it is counted from the
    model's mean pose. Works on the device of its inputs. The arrays are not in the state dict, so they never enter a
    checkpoint.
    """

    faces: Tensor

    def __init__(self, hand: HandModel, num_pca: int | None = None, flat_hand_mean: bool = True) -> None:
        super().__init__()
        if num_pca is not None and not 1 <= num_pca <= 45:
            raise HandkitError(f"num_pca is {num_pca}", "use 1 to 45, or None for 45 axis-angle values")
        self.hand = hand
        self.num_pca = num_pca
        self.flat_hand_mean = flat_hand_mean
        self.register_buffer("faces", torch.tensor(hand.faces), persistent=False)
        self._constants: dict[tuple[torch.dtype, torch.device, bool], _Constants] = {}

    def forward(
        self,
        *,
        global_orient: Float[Tensor, "*#B 3"] | None = None,
        hand_pose: Float[Tensor, "*#B P"] | None = None,
        betas: Float[Tensor, "*#B 10"] | None = None,
        transl: Float[Tensor, "*#B 3"] | None = None,
        want_vertices: bool = True,
    ) -> HandOutput:
        """Pose the hand; what is not given is zero, and leading dimensions broadcast.

        Rotations are axis-angle (radians), `betas` standard deviations, `transl` metres. `global_orient` turns the hand
        about its wrist joint. float32 unless an input is float64. Without `want_vertices` joints are had sooner.
        """
        size = self.num_pca or 45
        batch, constants, (orient, pose, shape, shift) = self._prepare(
            {"global_orient": global_orient, "hand_pose": hand_pose, "betas": betas, "transl": transl},
            (3, size, 10, 3),
            want_vertices=want_vertices,
        )
        with torch.autocast(orient.device.type, enabled=False):  # half precision would cost millimetres
            if constants.components is not None:
                pose = pose @ constants.components
            if constants.pose_mean is not None:
                pose = pose + constants.pose_mean
            vectors = torch.cat([orient, pose], dim=1).view(-1, 3)
            matrices = rotations(vectors, constants.quadratic, constants.identity).view(-1, 144)
            return _skin(constants, matrices, shape, None if transl is None else shift, batch)

    def from_matrices(
        self,
        matrices: Float[Tensor, "*#B 16 3 3"],
        *,
        betas: Float[Tensor, "*#B 10"] | None = None,
        transl: Float[Tensor, "*#B 3"] | None = None,
    ) -> HandOutput:
        """Pose the hand by rotation matrices of its 16 joints, wrist first; mean pose and PCA play no part."""
        batch, constants, (flat, shape, shift) = self._prepare(
            {"matrices": matrices.flatten(-3), "betas": betas, "transl": transl}, (144, 10, 3)
        )
        with torch.autocast(flat.device.type, enabled=False):
            return _skin(constants, flat, shape, None if transl is None else shift, batch)

    def _prepare(
        self, inputs: dict[str, Tensor | None], sizes: Sequence[int], *, want_vertices: bool = True
    ) -> tuple[torch.Size, _Constants, list[Tensor]]:
        """The common leading dimensions, the constants of the inputs' kind, and the inputs as [N, size]."""
        given = [tensor for tensor in inputs.values() if tensor is not None]
        for (name, tensor), size in zip(inputs.items(), sizes, strict=True):
            if tensor is not None and tensor.shape[-1] != size:
                raise HandkitError(f"{name} has shape {tuple(tensor.shape)}", f"its last dimension must be {size}")
        dtype = torch.float64 if any(tensor.dtype == torch.float64 for tensor in given) else torch.float32
        device = given[0].device if given else self.faces.device
        batch = torch.broadcast_shapes(*(tensor.shape[:-1] for tensor in given))
        if (dtype, device, want_vertices) not in self._constants:
            self._constants[dtype, device, want_vertices] = _build_constants(self, dtype, device, want_vertices)
        number = batch.numel()
        flat = [
            torch.zeros(number, size, dtype=dtype, device=device)
            if tensor is None
            else tensor.to(dtype).expand(*batch, size).reshape(number, size)
            for tensor, size in zip(inputs.values(), sizes, strict=True)
        ]
        return batch, self._constants[dtype, device, want_vertices], flat


def _skin(
    constants: _Constants, matrices: Tensor, betas: Tensor, transl: Tensor | None, batch: torch.Size
) -> HandOutput:
    """The hand [*batch] of rotations [N, 144], betas [N, 10] and transl [N, 3]."""
    number = len(matrices)
    correctives = torch.cat([betas, matrices.split([9, 135], dim=1)[1]], dim=1)
    shaped = torch.addmm(constants.template, correctives, constants.directions)
    shaped = shaped.view(number, 3, constants.weights.shape[1])
    rest = torch.addmm(constants.joint_template, betas, constants.joint_directions).view(number, 16, 3, 1)
    maps = joint_maps(matrices.view(number, 16, 3, 3), rest, transl, constants.bottom)[:, :, :3]
    turned, shift = maps.split([3, 1], dim=3)
    posed = (turned @ rest + shift).squeeze(3)
    vertices = skin(maps.permute(0, 2, 3, 1).contiguous(), shaped, constants.weights)
    tips = vertices.index_select(1, constants.tips)
    joints = torch.cat([posed, tips], dim=1).index_select(1, constants.order)
    if not constants.has_all:
        vertices = vertices[:, :0]
    return HandOutput(vertices.view(*batch, vertices.shape[1], 3), joints.view(*batch, 21, 3))


def _build_constants(layer: ManoLayer, dtype: torch.dtype, device: torch.device, has_all: bool) -> _Constants:
    hand = layer.hand
    tips = list(hand.tip_vertices)
    chosen = np.arange(len(hand.v_template)) if has_all else np.array(tips)

    def tensor(array: np.ndarray) -> Tensor:
        return torch.tensor(np.ascontiguousarray(array), dtype=dtype, device=device)

    posedirs = hand.posedirs[chosen]
    directions = np.concatenate([hand.shapedirs[chosen], posedirs], axis=2)  # [V, 3, 145]
    identity = np.eye(3).ravel()
    return _Constants(
        template=tensor((hand.v_template[chosen] - posedirs @ np.tile(identity, 15)).T.ravel()),
        directions=tensor(directions.transpose(2, 1, 0).reshape(145, -1)),
        joint_template=tensor((hand.J_regressor @ hand.v_template).ravel()),
        joint_directions=tensor(np.einsum("jv,vcs->sjc", hand.J_regressor, hand.shapedirs).reshape(10, 48)),
        weights=tensor(hand.lbs_weights[chosen].T),
        pose_mean=None if layer.flat_hand_mean else tensor(hand.hands_mean),
        components=None if layer.num_pca is None else tensor(hand.hands_components[: layer.num_pca]),
        quadratic=build_quadratic().to(device, dtype),
        identity=tensor(identity),
        bottom=tensor(np.array([0.0, 0.0, 0.0, 1.0]).reshape(1, 1, 1, 4)),
        tips=torch.tensor(tips if has_all else range(len(tips)), device=device),
        order=torch.tensor(OURS_FROM_MANO_AND_TIPS, device=device),
        has_all=has_all,
    )
