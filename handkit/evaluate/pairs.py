"""One hand from two views against the right view alone, on generated pairs (RealisticHands' Table 4).

Figures are means over pairs, of the whole mesh in the right view, named as those of `handkit evaluate`: "pa_" after the
best similarity, "ra_" from each hand's own wrist in the camera's axes, without a prefix as hands stand in the camera.
"""

import json
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray

from handkit.checkpoint import CheckpointInfo
from handkit.data.handnet_batches import StereoCropBatches
from handkit.data.keypoint_noise import KeypointNoise
from handkit.data.staged_batches import Batch
from handkit.data.stereo import StereoDataset
from handkit.errors import HandkitError
from handkit.geometry import align
from handkit.hand.model import HandModel, load_hand
from handkit.hand.stereo import CAMERA_FUSIONS
from handkit.hand.weak import WeakPoseLayer
from handkit.inference.load import pick_device
from handkit.inference.trained import box_scale, crop_size
from handkit.methods.handnet_stereo import MONO, fused_hand, measure_pairs, mono_hand, say_views, true_hand
from handkit.metrics import f_score
from handkit.nets.handnet import HandNet
from handkit.nets.handnet_system import load_handnet
from handkit.train import Place

Noise = Literal["trained", "off"]
_THRESHOLDS_M: Final = (0.005, 0.015)
_BATCH: Final = 32
_KEYS: Final = {"pa": "pa_mpvpe_mm", "wrist": "ra_mpvpe_mm", "camera": "mpvpe_mm"}


def held_out(info: CheckpointInfo, pairs: StereoDataset) -> NDArray[np.int64]:
    """The last share of pairs, which the checkpoint's own training does not learn from."""
    return np.arange(len(pairs) - round(float(info.recipe["data"]["held_out"]) * len(pairs)), len(pairs))


def score_pairs(
    checkpoint: Path, folder: Path, *, of_all: bool = False, noise: Noise = "trained", device: str = "auto"
) -> dict[str, dict[str, float]]:
    """Figures of "mono" and of each way to fuse cameras, of the pairs that the checkpoint's training holds out.

    With `of_all` every pair is measured: they should be others than those learned from. Keypoints are off as in
    training, none missing, or with noise "off" true. Raises HandkitError for a HandNet of one view, and for pairs of
    another hand model.
    """
    network, info = load_handnet(checkpoint)
    if not network.stereo_views:
        raise HandkitError(f"{checkpoint} is a HandNet of one view", "give one of `handkit finetune handnet-stereo`")
    hand, pairs = load_hand(str(info.data.get("hand", "open")), "right"), StereoDataset(folder)
    check_hand(pairs, folder, hand)
    rows = np.arange(len(pairs)) if of_all else held_out(info, pairs)
    if not len(rows):
        raise HandkitError(f"of {len(pairs)} pairs in {folder} none is held out", "make more of them")
    source = StereoCropBatches(
        pairs,
        hand,
        batch=min(_BATCH, len(rows)),
        rows=rows,
        size=crop_size(info),
        box_scale=box_scale(info),
        noise=_noise(info) if noise == "trained" else None,
        want_image=network.inputs != "keypoints",
    )
    place = Place(device=torch.device(pick_device(device)))
    layer = WeakPoseLayer(hand).to(place.device)
    network = network.to(place.device).eval()
    with torch.no_grad():
        parts = [_measure(network, batch, layer, crop_size(info)) for batch in source.fixed(len(rows), _BATCH, place)]
    return {
        name: {
            **{key: float(np.concatenate([part[name][key] for part in parts]).mean()) for key in figures},
            "count": float(len(rows)),
        }
        for name, figures in parts[0].items()
    }


def _measure(
    network: HandNet, batch: Batch, layer: WeakPoseLayer, size: int
) -> dict[str, dict[str, Float[np.ndarray, " M"]]]:
    """Of each way, what its figures are for every pair."""
    said = say_views(network, batch, inputs=network.inputs, size=size, sigma=network.sigma)
    errors = measure_pairs(said, batch, layer, size=size)
    true = true_hand(batch).vertices.double()
    hands = {MONO: mono_hand(said, batch, layer, size=size)}
    hands |= {camera: fused_hand(said, batch, layer, size=size, camera=camera) for camera in CAMERA_FUSIONS}
    found = {}
    for name, hand in hands.items():
        aligned = align(hand.vertices.double(), true, reflection=False)
        near = f_score(aligned.cpu().numpy(), true.cpu().numpy(), _THRESHOLDS_M)
        found[name] = {
            **{key: errors[f"{name}_{what}_mpvpe_mm"].cpu().numpy() for what, key in _KEYS.items()},
            "pa_f_score_5mm": near[:, 0],
            "pa_f_score_15mm": near[:, 1],
        }
    return found


def _noise(info: CheckpointInfo) -> KeypointNoise | None:
    held = info.data.get("noise")
    if held is None:
        return None
    return KeypointNoise.model_validate_json(json.dumps(held)).model_copy(update={"missing": 0.0})


def check_hand(pairs: StereoDataset, folder: Path, hand: HandModel) -> None:
    """Raise HandkitError for pairs of another hand model."""
    own = pairs[0]["right"]["hand_model"]
    if own != hand.name:
        raise HandkitError(
            f"{folder} holds hands of the model {own!r}, and the network was trained with {hand.name!r}",
            f"make pairs by `handkit generate stereo --hand-model {hand.name}`",
        )
