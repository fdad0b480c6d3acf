"""What is measured of hands in pairs: how well views agree, and against labels where there are some.

One value a pair, NaN where it is not defined.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from handkit.hand.mesh_joints import joints_of_mesh
from handkit.hand.model import HandModel
from handkit.hand.stereo import place_in_camera
from handkit.methods.binocular_loss import masks_at
from handkit.methods.binocular_recipe import BinocularFormsRecipe
from handkit.methods.binocular_views import PairPoints
from handkit.methods.handnet_loss import vertices_known
from handkit.methods.handnet_stereo import right_views
from handkit.metrics import mask_iou, mpjpe_mm, pa_mpjpe_mm
from handkit.metrics.points import masked_mean
from handkit.render.hard import rasterize

_MM: Final = 1000.0


class TruePair(NamedTuple):
    """The annotated hand in the right camera, metres, and what of it is known."""

    vertices: Float[Tensor, "M 778 3"]
    vertices_known: Bool[Tensor, "M 778"]
    joints: Float[Tensor, "M 21 3"]
    joints_known: Bool[Tensor, "M 21"]


def true_pair(batch: Mapping[str, Any]) -> TruePair:
    """Of a batch of pairs; nothing is known where the wrist is not."""
    right = right_views(batch)
    placed, wrist = right["K_valid"], right["wrist"]
    ahead = torch.where(placed[:, None], wrist, wrist.new_tensor([0.0, 0.0, 1.0]))
    vertices, joints = (place_in_camera(right[name], ahead) for name in ("vertices", "joints_3d"))
    known = vertices_known(right) & placed[:, None]
    return TruePair(vertices, known, joints, right["joints_3d_valid"] & placed[:, None])


def measure_agreement(
    pair: PairPoints, batch: Mapping[str, Any], hand: HandModel, forms: BinocularFormsRecipe, *, size: int
) -> dict[str, Float[Tensor, " M"]]:
    """What needs no truth: the views' gap across the baseline in pixels of the crop, and the outline in its mask.

    Outlines are compared at the size of the loss's silhouettes, as the mean of the views that have a mask.
    """
    gap = size * pair.gap.abs().mean(-1)
    covered = _covered(torch.cat([pair.right, pair.left]), hand, forms.silhouette_px)
    iou = mask_iou(covered, masks_at(batch["mask"], forms.silhouette_px) > 0.5)
    each = torch.where(batch["mask_valid"], iou, torch.nan).chunk(2)
    return {"epipolar_gap_px": gap.double(), "silhouette_iou": torch.stack(each).nanmean(0)}


def _covered(points: Float[Tensor, "R 778 2"], hand: HandModel, size: int) -> Bool[Tensor, "R S S"]:
    """Which pixels meshes cover: a soft silhouette is too wide for that."""
    flat = functional.pad(size * points, (0, 1), value=1.0).double().cpu().numpy()
    drawn = [np.isfinite(rasterize(mesh, hand.faces, size=(size, size)).depth) for mesh in flat]
    return torch.from_numpy(np.stack(drawn)).to(points.device)


def measure_truth(pair: PairPoints, batch: Mapping[str, Any], hand: HandModel) -> dict[str, Float[Tensor, " M"]]:
    """Errors in mm in the right camera as the hand stands there, vertices also Procrustes-aligned.

    depth: how much further or nearer the whole hand is, by its vertices or else by its joints.
    """
    true, vertices = true_pair(batch), pair.found.right
    joints = joints_of_mesh(vertices, hand)
    depth = masked_mean((vertices - true.vertices)[..., 2].double(), true.vertices_known)
    by_joints = masked_mean((joints - true.joints)[..., 2].double(), true.joints_known)
    depth = torch.where(depth.isnan(), by_joints, depth).abs()
    return {
        "mpvpe_mm": mpjpe_mm(vertices, true.vertices, true.vertices_known),
        "mpjpe_mm": mpjpe_mm(joints, true.joints, true.joints_known),
        "pa_mpvpe_mm": pa_mpjpe_mm(vertices, true.vertices, valid=true.vertices_known),
        "depth_mm": _MM * depth,
    }


def defined(measured: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without what is defined for no pair at all."""
    return {name: value for name, value in measured.items() if not bool(value.isnan().all())}
