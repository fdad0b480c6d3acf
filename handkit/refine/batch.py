"""Hands refined together: tensors from rows and crops, the refinement, and what became of each hand in each view."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch

from handkit.fit import fit_joints
from handkit.fit.landmarks import LANDMARKS, LandmarkSource
from handkit.fit.refine import CROP_PX, SETTINGS, Evaluation, HandState, Keypoints, RefineSettings, View, refine_hands
from handkit.hand import HandModel
from handkit.refine.crops import Crop
from handkit.refine.masks import projected_mask
from handkit.refine.options import RefineOptions
from handkit.refine.pieces import Place
from handkit.refine.results import Outcome, Status
from handkit.refine.seen import Seen, move_hands
from handkit.refine.together import Group

_PARAMETERS: Final = ("global_orient", "hand_pose", "betas", "transl")
_KEPT: Final = "the loss did not fall"
_ALONE: Final = "no partner in another view"


@dataclass(frozen=True, eq=False)
class Ready:
    """A hand with its crop in each view that is used."""

    group: Group
    crops: dict[int, Crop]


def refine_batch(
    batch: Sequence[Ready],
    views: Sequence[Seen],
    hand: HandModel,
    options: RefineOptions,
    device: torch.device,
    watch: Callable[[int, Evaluation], None],
) -> dict[Place, Outcome]:
    """Refine hands of one side that the same views saw, in the camera of the first of these.

    Where several views saw them they start from the hand that fits their keypoints in space.
    """
    order = list(batch[0].group.members)
    anchor = views[order[0]]
    start = _start(batch, anchor, hand)

    def tensor(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, np.float32)).to(device)

    offsets = tensor(start["vertex_offsets"]) if "vertex_offsets" in start else None
    refined = refine_hands(
        HandState(**{name: tensor(start[name]) for name in _PARAMETERS}, vertex_offsets=offsets),
        hand=hand,
        views=[_view(batch, v, views[v], anchor, tensor) for v in order],
        keypoints=_keypoints(batch, anchor, hand, tensor),
        free=options.free,
        iterations=options.iterations,
        settings=settings_of(options, hand),
        on_iteration=watch,
    )
    state = refined.state
    found = {name: getattr(state, name).cpu().numpy() for name in _PARAMETERS} | {
        "joints_3d": refined.joints.cpu().numpy()
    }
    if state.vertex_offsets is not None:
        found["vertex_offsets"] = state.vertex_offsets.cpu().numpy()
    meshes = refined.vertices.cpu().numpy().astype(np.float64)
    outcomes: dict[Place, Outcome] = {}
    for v in order:
        R, T = _between(anchor, views[v])
        moved = found if v == order[0] else move_hands(found, R, T)
        for i, ready in enumerate(batch):
            crop = ready.crops[v]
            before, after = _ious(views[v], crop, hand, meshes[i] @ R.T + T)
            numbers: dict[str, np.ndarray] | None = {name: values[i] for name, values in moved.items()}
            status: Status = "refined"
            why = _ALONE if len(views) > len(order) == 1 else ""
            if not bool(refined.improved[i]):
                status, why, numbers, after = "kept", _KEPT, None, before
            first, last = float(refined.loss_before[i]), float(refined.loss_after[i])
            outcomes[v, crop.row] = Outcome(status, why, "", before, after, first, last, numbers, len(order))
    return outcomes


def _start(batch: Sequence[Ready], anchor: Seen, hand: HandModel) -> dict[str, np.ndarray]:
    """Where refinement starts, in the anchor's camera."""
    rows = anchor.rows
    chosen = [next(iter(ready.crops.values())).row for ready in batch]
    if len(batch[0].crops) == 1:
        names = (*_PARAMETERS, *(() if rows.vertex_offsets is None else ("vertex_offsets",)))
        return {name: getattr(rows, name)[chosen] for name in names}
    points = torch.from_numpy(np.stack([_points(ready) for ready in batch]) @ anchor.R.T + anchor.T)
    matrix = _landmarks(anchor).matrix(hand.name)
    if matrix is not None:
        # The joints from the landmarks, which lie between them.
        inverse = torch.linalg.inv(matrix)
        lost = (~torch.isfinite(points[..., 0])).double() @ (inverse != 0).double().mT > 0
        points = torch.where(lost[..., None], torch.nan, inverse @ torch.nan_to_num(points))
    fitted = fit_joints(points, hand, bool(rows.is_right[chosen[0]]))
    return {name: getattr(fitted, name).numpy() for name in _PARAMETERS}


def _points(ready: Ready) -> np.ndarray:
    assert ready.group.points is not None
    return ready.group.points


def _landmarks(seen: Seen) -> LandmarkSource:
    return LANDMARKS["mediapipe" if seen.rows.method.startswith("MediaPipe") else "joints"]


def _between(first: Seen, second: Seen) -> tuple[np.ndarray, np.ndarray]:
    """R, T with x_second = R x_first + T."""
    R = second.R @ first.R.T
    return R, second.T - R @ first.T


def _view(
    batch: Sequence[Ready], v: int, seen: Seen, anchor: Seen, tensor: Callable[[np.ndarray], torch.Tensor]
) -> View:
    crops = [ready.crops[v] for ready in batch]
    R, T = _between(anchor, seen)
    K = np.stack([crop.transform for crop in crops]) @ seen.rows.K[[crop.row for crop in crops]]
    return View(
        K=tensor(K),
        target=tensor(np.stack([crop.target for crop in crops])),
        valid=tensor(np.stack([crop.valid for crop in crops])) > 0,
        rotation=None if seen is anchor else tensor(R),
        translation=None if seen is anchor else tensor(T),
    )


def _keypoints(
    batch: Sequence[Ready], anchor: Seen, hand: HandModel, tensor: Callable[[np.ndarray], torch.Tensor]
) -> Keypoints:
    """The anchor's keypoints in its crops; with several views, where all their keypoints together put them."""
    crops = [next(iter(ready.crops.values())) for ready in batch]
    rows, chosen = anchor.rows, [crop.row for crop in crops]
    xy = rows.keypoints_2d[chosen].astype(np.float64)
    if len(batch[0].crops) > 1:
        pixels = (np.stack([_points(ready) for ready in batch]) @ anchor.R.T + anchor.T) @ rows.K[chosen].swapaxes(1, 2)
        xy = np.where(np.isfinite(pixels[..., :2]), pixels[..., :2] / pixels[..., 2:], xy)
    transforms = np.stack([crop.transform for crop in crops])
    xy = xy @ transforms[:, :2, :2].swapaxes(1, 2) + transforms[:, None, :2, 2]
    seen = np.isfinite(xy).all(-1)
    matrix = _landmarks(anchor).matrix(hand.name)
    return Keypoints(
        xy=tensor(np.where(seen[..., None], xy, 0.0)),
        scores=tensor(np.where(seen, np.nan_to_num(rows.keypoint_scores[chosen]), 0.0)),
        from_joints=None if matrix is None else matrix.to(tensor(np.zeros(0)).device),
    )


def settings_of(options: RefineOptions, hand: HandModel) -> RefineSettings:
    """The setting asked for, with the weights that were changed."""
    settings = SETTINGS[options.settings](hand, CROP_PX)
    changed: dict[str, Any] = dict(options.weights)
    return replace(settings, weights=replace(settings.weights, **changed))


def _ious(seen: Seen, crop: Crop, hand: HandModel, mesh: np.ndarray) -> tuple[float, float]:
    """IoU with the target of the row as it was, and of the mesh [778, 3] in this view's camera."""
    K, target = crop.transform @ seen.rows.K[crop.row], crop.target > 0.5
    size = (target.shape[0], target.shape[1])
    before, after = (
        _iou(projected_mask(vertices, hand.faces, K, size), target, crop.valid) for vertices in (crop.mesh, mesh)
    )
    return before, after


def _iou(drawn: np.ndarray, target: np.ndarray, valid: np.ndarray) -> float:
    union = ((drawn | target) & valid).sum()
    return float((drawn & target & valid).sum() / union) if union else float("nan")
