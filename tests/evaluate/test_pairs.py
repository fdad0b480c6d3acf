"""Two views against one over generated pairs: which pairs, with which keypoints, of which networks."""

from pathlib import Path

import numpy as np
import pytest

from handkit.checkpoint import CheckpointInfo, save_checkpoint
from handkit.data.handnet_batches import StereoCropBatches
from handkit.data.keypoint_noise import KeypointNoise
from handkit.data.stereo import StereoDataset
from handkit.errors import HandkitError
from handkit.evaluate.pairs import score_pairs
from handkit.hand import load_hand
from handkit.hand.weak import WeakPoseLayer
from handkit.methods.handnet_stereo import fused_hand, mono_hand, say_views, true_hand
from handkit.metrics import mpjpe_mm
from handkit.nets.handnet_system import load_handnet
from handkit.train import Place
from tests.data.test_stereo import write_pairs
from tests.inference.making import SIZE, small_handnet, write_handnet

PAIRS = 5


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("pairs"), shards=1, each=PAIRS)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path, network = tmp_path_factory.mktemp("net") / "handnet-stereo.safetensors", small_handnet(stereo=True)
    recipe = {"network": {"size": SIZE}, "data": {"held_out": 0.4}}
    known = {"hand": "open", "box_scale": 1.5, "noise": KeypointNoise(missing=1.0).model_dump(mode="json")}
    save_checkpoint(path, network, CheckpointInfo("handnet-stereo", network.describe(), recipe, 7, data=known))
    return path


def test_figures_are_means_over_the_pairs_that_are_held_out(pairs: Path, checkpoint: Path) -> None:
    found = score_pairs(checkpoint, pairs, noise="off", device="cpu")
    assert set(found) == {"mono", "average", "triangulated"}
    network, _ = load_handnet(checkpoint)
    hand = load_hand("open", "right")
    layer, errors = WeakPoseLayer(hand), {"mono": [], "average": []}
    for row in (3, 4):
        source = StereoCropBatches(
            StereoDataset(pairs), hand, batch=1, rows=np.array([row]), size=SIZE, box_scale=1.5, noise=None
        )
        (batch,) = source.fixed(1, 1, Place())
        said = say_views(network, batch, inputs="both", size=SIZE, sigma=network.sigma)
        hands = {"mono": mono_hand(said, batch, layer, size=SIZE)}
        hands["average"] = fused_hand(said, batch, layer, size=SIZE, camera="average")
        for name, one in hands.items():
            errors[name].append(float(mpjpe_mm(one.vertices.detach(), true_hand(batch).vertices)))
    for name, values in errors.items():
        assert found[name]["mpvpe_mm"] == pytest.approx(np.mean(values), rel=1e-4)
        assert found[name]["count"] == 2


def test_all_pairs_may_be_measured_and_no_keypoints_are_missing(pairs: Path, checkpoint: Path) -> None:
    """Noise as in training moves keypoints; that all of them were missing there is not followed."""
    seen = score_pairs(checkpoint, pairs, of_all=True, noise="off", device="cpu")
    noisy = score_pairs(checkpoint, pairs, of_all=True, device="cpu")
    assert seen["mono"]["count"] == noisy["mono"]["count"] == PAIRS
    for name in ("mono", "average"):
        assert noisy[name]["pa_mpvpe_mm"] != seen[name]["pa_mpvpe_mm"]
        assert 0 <= noisy[name]["pa_f_score_5mm"] <= noisy[name]["pa_f_score_15mm"] <= 1
    assert seen["average"]["pa_mpvpe_mm"] == pytest.approx(seen["triangulated"]["pa_mpvpe_mm"], rel=1e-4)
    assert seen["average"]["mpvpe_mm"] != seen["triangulated"]["mpvpe_mm"]


def test_networks_of_one_view_and_too_few_pairs_are_refused(pairs: Path, checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(HandkitError, match="is a HandNet of one view"):
        score_pairs(write_handnet(tmp_path / "mono.safetensors"), pairs, device="cpu")
    one = write_pairs(tmp_path / "one", shards=1, each=1)
    with pytest.raises(HandkitError, match=r"of 1 pairs in .* none is held out"):
        score_pairs(checkpoint, one, device="cpu")
