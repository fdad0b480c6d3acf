"""The binocular network over generated pairs: which pairs, in which crops, and what the figures are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from handkit.checkpoint import CheckpointInfo, save_checkpoint
from handkit.data.registry import build_dataset
from handkit.data.sample import HandSample
from handkit.data.stereo import StereoDataset
from handkit.detect.detection import box_around
from handkit.errors import HandkitError
from handkit.evaluate.binocular_pairs import held_out_pairs, noise_of, score_binocular
from handkit.hand import load_hand
from handkit.hand.mesh_joints import joints_of_mesh
from handkit.inference.looks import square_around_joints
from handkit.metrics import mpjpe_mm, pa_mpjpe_mm
from handkit.nets.lixel import LixelOutput
from handkit.nets.lixel_system import build_lixel
from tests.data.test_stereo import write_pairs

PAIRS, SIZE, BOX_SCALE = 5, 64, 1.5
HAND = load_hand("open", "right")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("pairs"), shards=1, each=PAIRS)


def info_of(method: str = "binocular", noise: Any = None, held_out: float = 0.4) -> CheckpointInfo:
    known = {"hand": "open", "size": SIZE, "box_scale": BOX_SCALE}
    recipe = {} if method == "hand-prior" else {"data": {"held_out": held_out, "noise": noise}}
    return CheckpointInfo(method, {"name": "lixel"}, recipe, step=7, data=known)


class Oracle(torch.nn.Module):
    """Knows every picture's vertices by its blue channel; right views have them so many pixels further right."""

    def __init__(self, folder: Path, shift_px: float) -> None:
        super().__init__()
        self.views = [build_dataset("stereo", folder, view=view) for view in ("left", "right")]
        self.shift_px = shift_px
        self.asked: list[int] = []

    def forward(self, images: torch.Tensor) -> LixelOutput:
        numbers = ((images[:, 2].flatten(1).amax(-1) * 255).round().long() - 10).tolist()
        self.asked += numbers
        said = [self.answer(self.views[number >= 100][number % 100], number >= 100) for number in numbers]
        return LixelOutput(torch.from_numpy(np.stack(said)).float(), None)

    def answer(self, sample: HandSample, is_right_view: bool) -> np.ndarray:
        square = square_around_joints(box_around(sample["joints_2d"].astype(np.float64)), BOX_SCALE)
        pixels = sample["vertices_2d"] + np.array([self.shift_px * is_right_view, 0])
        return (pixels - square[:2]) / (square[2] - square[0])


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch, pairs: Path) -> Callable[..., Oracle]:
    def put(shift_px: float = 0.0, **known: Any) -> Oracle:
        oracle = Oracle(pairs, shift_px)
        monkeypatch.setattr("handkit.evaluate.binocular_pairs.load_lixel", lambda path: (oracle, info_of(**known)))
        return oracle

    return put


def triangulated(sample: HandSample, shift_px: float) -> torch.Tensor:
    """A hand of the right camera whose right picture is so many pixels off; cameras are 6.3 cm apart."""
    seen = sample["vertices"].astype(np.float64)
    left, right = seen[:, 0] + 0.063, seen[:, 0]
    x, y = right / seen[:, 2] + shift_px / float(sample["K"][0, 0]), seen[:, 1] / seen[:, 2]
    depth = 0.063 / (left / seen[:, 2] - x)
    return torch.from_numpy(np.stack([x * depth, y * depth, depth], -1))


def test_figures_are_means_over_the_pairs_that_are_held_out(pairs: Path, use: Any) -> None:
    oracle = use(0.2)
    found = score_binocular(Path("net"), pairs, noise="off", device="cpu")
    assert sorted(oracle.asked) == [3, 4, 103, 104]
    assert found["count"] == 2
    assert found["behind"] == 0
    assert found["gap_px"] < 0.01
    wanted: dict[str, list[float]] = {}
    for row in (3, 4):
        sample = StereoDataset(pairs)[row]["right"]
        vertices, true = triangulated(sample, 0.2), torch.from_numpy(sample["vertices"]).double()
        joints, true_joints = joints_of_mesh(vertices, HAND), torch.from_numpy(sample["joints_3d"]).double()
        said = {"mpvpe_mm": (vertices, true), "mpjpe_mm": (joints, true_joints)}
        for name, (one, other) in said.items():
            wanted.setdefault(name, []).append(float(mpjpe_mm(one, other)))
            wanted.setdefault(f"pa_{name}", []).append(float(pa_mpjpe_mm(one, other)))
            wanted.setdefault(f"ra_{name}", []).append(float(mpjpe_mm(one - joints[0], other - true_joints[0])))
    for name, values in wanted.items():
        assert found[name] == pytest.approx(np.mean(values), rel=2e-3), name
    assert found["median_mpvpe_mm"] == pytest.approx(np.median(wanted["mpvpe_mm"]), rel=2e-3)
    assert found["pa_mpvpe_mm"] < found["ra_mpvpe_mm"] < found["mpvpe_mm"]


def test_a_perfect_network_is_off_by_nothing(pairs: Path, use: Any) -> None:
    use()
    found = score_binocular(Path("net"), pairs, rows=np.arange(PAIRS), noise="off", device="cpu")
    assert found["count"] == PAIRS
    assert max(found["mpvpe_mm"], found["ra_mpvpe_mm"]) < 2
    assert found["mpvpe_mm"] < 0.05
    assert found["mpjpe_mm"] < 2, "joints of the layer against those regressed from the mesh"


def test_hands_without_a_disparity_are_counted(pairs: Path, use: Any) -> None:
    use(12.0)
    found = score_binocular(Path("net"), pairs, noise="off", device="cpu")
    assert found["behind"] == 1
    assert found["median_mpvpe_mm"] > 3000, "as 5 m away"


def test_keypoints_are_off_as_in_training_and_none_is_missing(pairs: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build_lixel(backbone="plain-slim", features=8, depth=None)
    known = info_of(noise={"missing": 1.0})
    info = CheckpointInfo(known.method, network.describe(), known.recipe, 7, data=known.data)
    path = tmp_path / "net.safetensors"
    save_checkpoint(path, network, info)
    noise = noise_of(info)
    assert noise is not None
    assert noise.missing == 0
    true, noisy, other = (
        score_binocular(path, pairs, noise=how, seed=seed, device="cpu")
        for how, seed in (("off", 0), ("trained", 0), ("trained", 1))
    )
    assert len({true["mpvpe_mm"], noisy["mpvpe_mm"], other["mpvpe_mm"]}) == 3
    assert noisy == score_binocular(path, pairs, device="cpu")
    assert noise_of(info_of(noise=None)) is None
    prior = noise_of(info_of("hand-prior"))
    assert prior is not None
    assert prior.missing == 0


def test_a_prior_is_to_be_told_which_pairs(pairs: Path, use: Any) -> None:
    use(method="hand-prior")
    with pytest.raises(HandkitError, match="a checkpoint of hand-prior holds out no pairs"):
        score_binocular(Path("net"), pairs, device="cpu")
    assert score_binocular(Path("net"), pairs, rows=np.array([1]), noise="off", device="cpu")["count"] == 1


def test_pairs_of_another_hand_and_too_few_are_refused(pairs: Path, use: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    use(held_out=0.05)
    with pytest.raises(HandkitError, match=r"of 5 pairs in .* none is held out"):
        score_binocular(Path("net"), pairs, device="cpu")
    assert held_out_pairs(info_of(held_out=0.6), StereoDataset(pairs)).tolist() == [2, 3, 4]
    original = StereoDataset.__getitem__

    def mano(self: StereoDataset, index: int) -> Any:
        pair = original(self, index)
        pair["right"]["hand_model"] = "mano"
        return pair

    monkeypatch.setattr(StereoDataset, "__getitem__", mano)
    use()
    with pytest.raises(HandkitError, match="holds hands of the model 'mano'"):
        score_binocular(Path("net"), pairs, device="cpu")
