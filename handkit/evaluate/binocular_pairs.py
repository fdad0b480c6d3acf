"""The binocular network over generated pairs, each hand in crops as training cuts them: errors before and after.

Figures are of the right view, named as those of `handkit evaluate`: "pa_" after the best similarity, "ra_" from each
hand's own wrist in the camera's axes, without a prefix as hands stand in the camera; joints are regressed from the
mesh. Besides the means there are medians of the absolute ones, which a few hands without a disparity leave as they are.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from handkit.checkpoint import CheckpointInfo
from handkit.data.binocular_batches import PairBatches
from handkit.data.keypoint_noise import KeypointNoise
from handkit.data.sample import float_images
from handkit.data.stereo import StereoDataset
from handkit.errors import HandkitError
from handkit.evaluate.pairs import check_hand
from handkit.geometry.disparity import is_measurable
from handkit.hand.mesh_joints import joints_of_mesh
from handkit.hand.model import HandModel, load_hand
from handkit.inference.binocular import PRIOR_METHOD
from handkit.inference.load import pick_device
from handkit.inference.trained import box_scale, crop_size
from handkit.methods.binocular_measures import true_pair
from handkit.methods.binocular_views import PairPoints, place_pairs
from handkit.metrics import mpjpe_mm, pa_mpjpe_mm
from handkit.nets.lixel_system import load_lixel
from handkit.train import Place

Noise = Literal["trained", "off"]
_BATCH: Final = 32
_WRIST: Final = 0
_MEDIANS: Final = ("mpvpe_mm", "mpjpe_mm", "gap_px")


def held_out_pairs(info: CheckpointInfo, pairs: StereoDataset) -> NDArray[np.int64]:
    """The last share of pairs, which the checkpoint's own training does not learn from.

    Raises HandkitError for a hand prior, which learned from no pairs.
    """
    share = None if info.method == PRIOR_METHOD else info.recipe.get("data", {}).get("held_out")
    if share is None:
        raise HandkitError(f"a checkpoint of {info.method} holds out no pairs", "measure it on all of them")
    return np.arange(len(pairs) - round(float(share) * len(pairs)), len(pairs))


def score_binocular(
    checkpoint: Path,
    folder: Path,
    *,
    rows: NDArray[np.int64] | None = None,
    noise: Noise = "trained",
    seed: int = 0,
    device: str = "auto",
) -> dict[str, float]:
    """Means over pairs of a folder of `handkit generate stereo`, of those that the checkpoint's training holds out.

    rows: other ones, by number; a hand prior needs to be told. Keypoints, which say where crops are cut, are off as in
    training, none missing, or with noise "off" true. `gap_px` is how far the views have a vertex apart across the
    baseline, in the crop's pixels; `behind` the share of hands most of which have no positive disparity: their points
    are taken as 5 m away. Raises HandkitError for a checkpoint of another kind, for pairs of another hand model, and
    where there is no pair.
    """
    network, info = load_lixel(checkpoint)
    hand, pairs = load_hand(str(info.data.get("hand", "open")), "right"), StereoDataset(folder)
    check_hand(pairs, folder, hand)
    chosen = held_out_pairs(info, pairs) if rows is None else rows
    if not len(chosen):
        raise HandkitError(f"of {len(pairs)} pairs in {folder} none is held out", "make more of them")
    size = crop_size(info)
    source = PairBatches(
        pairs,
        hand,
        batch=min(_BATCH, len(chosen)),
        size=size,
        box_scale=box_scale(info),
        centre="middle" if info.data.get("centre") == "middle" else "box",
        masks="off",
        noise=noise_of(info) if noise == "trained" else None,
        seed=seed,
        rows=chosen,
        keep_bytes=0,
    )
    place = Place(device=torch.device(pick_device(device)))
    network = network.to(place.device).eval()
    parts = []
    for batch in source.fixed(len(chosen), _BATCH, place):
        with torch.inference_mode():
            points = network(float_images(batch["image"])).points
        parts.append(measure(place_pairs(points.double(), batch, size=size), batch, hand, size=size))
    each = {key: np.concatenate([part[key].cpu().numpy() for part in parts]) for key in parts[0]}
    means = {key: float(values.mean()) for key, values in each.items()}
    return {**means, **{f"median_{key}": float(np.median(each[key])) for key in _MEDIANS}, "count": float(len(chosen))}


def measure(
    pair: PairPoints, batch: Mapping[str, Any], hand: HandModel, *, size: int
) -> dict[str, Float[Tensor, " M"]]:
    """The figures of every pair of a batch of generated ones."""
    true, vertices = true_pair(batch), pair.found.right
    joints = joints_of_mesh(vertices, hand)
    found = {}
    for name, said, meant in (("mpvpe_mm", vertices, true.vertices), ("mpjpe_mm", joints, true.joints)):
        meant = meant.to(said)
        rooted, true_rooted = said - joints[:, [_WRIST]], meant - true.joints[:, [_WRIST]].to(said)
        found[name] = mpjpe_mm(said, meant)
        found[f"ra_{name}"] = mpjpe_mm(rooted, true_rooted)
        found[f"pa_{name}"] = pa_mpjpe_mm(said, meant)
    gap = size * pair.gap.abs().mean(-1)
    return {**found, "gap_px": gap, "behind": (~is_measurable(pair.found)).double()}


def noise_of(info: CheckpointInfo) -> KeypointNoise | None:
    """What keypoints of the checkpoint's training pairs were off by, none missing; a hand prior's the usual."""
    if info.method == PRIOR_METHOD:
        return KeypointNoise(missing=0.0)
    held = info.recipe.get("data", {}).get("noise")
    if held is None:
        return None
    return KeypointNoise.model_validate_json(json.dumps(held)).model_copy(update={"missing": 0.0})
