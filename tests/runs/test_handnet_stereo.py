"""`handkit finetune handnet-stereo` from the command line, on a few pairs and an untrained HandNet."""

import json
from pathlib import Path

import pytest
import torch

from handkit.checkpoint import CheckpointInfo, save_checkpoint
from handkit.data.handnet_batches import StereoCropBatches
from handkit.hand.model import load_hand
from handkit.hand.stereo import K_in_widths, camera_of_wrist
from handkit.hand.weak import WeakPoseLayer
from handkit.methods.handnet_stereo import measure_pairs
from handkit.nets.handnet import HandNetOutput
from handkit.nets.handnet_system import build_handnet, load_handnet
from handkit.train import Place
from tests.command import handkit

PAIRS = 8
TINY = [
    *("--device", "cpu", "--recipe", "handnet-stereo-small", "--set", "train.validate_every=2"),
    *("--set", "train.save_every=2", "--set", "train.log_every=1", "--set", "data.held_out=0.25"),
    *("--set", "stages.adaption.batch=2", "--set", "stages.stereo.batch=2"),
]


def steps(adaption: int, stereo: int) -> list[str]:
    return ["--set", f"stages.adaption.steps={adaption}", "--set", f"stages.stereo.steps={stereo}"]


def write_handnet(path: Path, *, hand: str = "open", **arguments: object) -> Path:
    torch.manual_seed(0)
    network = build_handnet(backbone="regnet_x_400mf", sigma=0.05, **arguments)
    data = {"hand": hand, "size": 64, "box_scale": 1.5}
    info = CheckpointInfo("handnet", network.describe(), {"network": {"size": 64}}, step=0, data=data)
    save_checkpoint(path, network, info, half=True)
    return path


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs") / "stereo"
    small = ("--set", "width=160", "--set", "height=120")
    code, _, stderr = handkit("generate", "stereo", "--out", folder, "--pairs", PAIRS, *small, "--workers", 1)
    assert code == 0, stderr
    return folder


@pytest.fixture(scope="module")
def init(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_handnet(tmp_path_factory.mktemp("init") / "handnet.safetensors")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, init: Path, shards: Path) -> Path:
    out = tmp_path_factory.mktemp("run")
    code, stdout, stderr = handkit(
        "finetune", "handnet-stereo", "--init", init, "--out", out, "--shards", shards, *TINY, *steps(2, 4), "--json"
    )
    assert code == 0, stderr
    summary = json.loads(stdout)
    assert list(summary["stages"]) == ["adaption", "stereo"]
    assert summary["learning"] == {"adaption": ["adapted_head"], "stereo": ["stereo"]}
    assert summary["data"]["learned_from"] == 6
    assert summary["data"]["held_out"] == summary["data"]["chosen_by"] == 2
    held_out = summary["stages"]["stereo"]["held_out"]
    for name in ("mono", "average", "triangulated"):
        for error in ("pa_mpvpe_mm", "wrist_mpvpe_mm", "camera_mpvpe_mm"):
            assert held_out[f"{name}_{error}"] > 0
    return out


@pytest.mark.parametrize("varied", [False, True], ids=["centred", "varied"])
def test_batches_and_fusing_mean_the_same(varied: bool, shards: Path) -> None:
    """Who says what a batch of pairs has as the truth is right, alone and fused, turned crops too."""
    hand, size = load_hand("open"), 64
    source = StereoCropBatches(
        shards, hand, batch=PAIRS, size=size, noise=None, want_image=False, reposition=0.5, rotate_deg=60.0, seed=3
    )
    batch = next(source.batches(0, Place())) if varied else source.fixed(PAIRS, PAIRS, Place())[0]
    moved = (batch["right_from_left"][:, 1:, 3].abs() > 1e-3).any()
    assert bool(moved) == varied
    camera = camera_of_wrist(batch["wrist"], K_in_widths(batch["K"], size))
    weights = torch.randn(PAIRS, 48)
    said = HandNetOutput(batch["pose"], batch["betas"], camera, torch.zeros(2 * PAIRS, 512), None, weights)
    for name, error in measure_pairs(said, batch, WeakPoseLayer(hand), size=size).items():
        assert error.max() < 0.02, name  # mm


def test_all_but_what_learns_stays_bit_for_bit(trained: Path, init: Path) -> None:
    before, _ = load_handnet(init)
    adapted, info = load_handnet(trained / "adaption" / "handnet-stereo.safetensors")
    fused, last = load_handnet(trained / "stereo" / "handnet-stereo.safetensors")
    state, middle, end = before.state_dict(), adapted.state_dict(), fused.state_dict()
    assert all(torch.equal(middle[name], value) and torch.equal(end[name], value) for name, value in state.items())
    heads = {name: value for name, value in middle.items() if name.startswith("adapted_head.")}
    own = {f"adapted_head.{name.removeprefix('image_head.')}": value for name, value in state.items()}
    assert any(not torch.equal(value, own[name]) for name, value in heads.items())
    assert all(torch.equal(end[name], value) for name, value in heads.items())
    assert middle["stereo.weight"].abs().max() == 0
    assert end["stereo.weight"].abs().max() > 0
    assert fused.describe()["stereo"] is True
    assert (info.method, info.data["stage"], last.data["stage"]) == ("handnet-stereo", "adaption", "stereo")
    assert (last.data["size"], last.data["box_scale"], last.data["hand"]) == (64, 1.5, "open")
    assert last.data["adapted_to"] == "generated pictures"
    assert last.data["mono"] == {"hand": "open", "size": 64, "box_scale": 1.5}
    assert list(last.data["before"]) == ["adaption"]
    assert list(last.recipe["stages"]) == ["stereo"]


def test_a_run_goes_on_as_if_it_had_not_been_stopped(init: Path, shards: Path, tmp_path: Path) -> None:
    given = ["finetune", "handnet-stereo", "--init", init, "--out", tmp_path, "--shards", shards, *TINY]
    constant = ["--set", "train.schedule=constant", "--set", "stages.stereo.decay_epochs=0"]
    for count in (2, 4):
        code, _, stderr = handkit(*given, *steps(2, count), *constant, "--quiet")
        assert code == 0, stderr
    stopped, _ = load_handnet(tmp_path / "stereo" / "handnet-stereo.safetensors")
    whole = tmp_path / "whole"
    given[given.index(tmp_path)] = whole
    assert handkit(*given, *steps(2, 4), *constant, "--quiet")[0] == 0
    through, _ = load_handnet(whole / "stereo" / "handnet-stereo.safetensors")
    for name, value in through.state_dict().items():
        assert torch.equal(stopped.state_dict()[name], value), name


def test_the_report_compares_one_view_with_both(init: Path, shards: Path, tmp_path: Path) -> None:
    given = ["finetune", "handnet-stereo", "--init", init, "--out", tmp_path, "--shards", shards, *TINY]
    code, stdout, stderr = handkit(*given, *steps(1, 1), "--stage", "stereo")
    assert code == 0, stderr
    assert "was not adapted: run stage adaption first" in stderr
    for words in ("right view alone", "both, camera average", "both, camera triangulated", "6 of 8", "next: handkit"):
        assert words in stdout


def test_a_network_of_keypoints_has_nothing_to_adapt(shards: Path, tmp_path: Path) -> None:
    init = write_handnet(tmp_path / "keypoints.safetensors", inputs="keypoints")
    given = ["finetune", "handnet-stereo", "--init", init, "--out", tmp_path / "run", "--shards", shards, *TINY]
    code, stdout, stderr = handkit(*given, *steps(1, 2), "--json")
    assert code == 0, stderr
    assert "has no image head to adapt" in stderr
    assert list(json.loads(stdout)["stages"]) == ["stereo"]
    code, _, stderr = handkit(*given, *steps(1, 2), "--stage", "adaption")
    assert code == 1
    assert "has no adapted_head to learn in stage adaption" in stderr


def test_pairs_are_made_where_none_are_given(init: Path, tmp_path: Path) -> None:
    given = ["finetune", "handnet-stereo", "--init", init, "--out", tmp_path, *TINY, "--set", "data.pairs=4"]
    code, stdout, stderr = handkit(*given, *steps(1, 1), "--dry-run", "--json")
    assert code == 0, stderr
    assert json.loads(stdout)["planned_steps"] == {"adaption": 1, "stereo": 1}
    assert not (tmp_path / "pairs").exists()
    code, stdout, stderr = handkit(*given, *steps(1, 1), "--json")
    assert code == 0, stderr
    assert json.loads(stdout)["data"]["learned_from"] == 3
    assert (tmp_path / "pairs" / "dataset.json").is_file()


def test_epochs_of_the_published_recipe(init: Path, tmp_path: Path) -> None:
    code, stdout, stderr = handkit(
        "finetune", "handnet-stereo", "--init", init, "--out", tmp_path, "--dry-run", "--json"
    )
    assert code == 0, stderr
    summary = json.loads(stdout)
    assert summary["data"]["learned_from"] == 10_557  # 70 of 100 of 15,082 pairs
    assert summary["planned_steps"] == {"adaption": 2 * 330, "stereo": 8 * 330}  # batches of 32


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--set", "stages.adaption.learns=[\"stereo\"]"], "in stage adaption views are single"),
        (["--set", "camera=mean"], "camera"),
        (["--set", "data.held_out=0.99"], "too few to hold some out"),
        (["--set", "data.noise=off", "--set", "data.missing=0.5"], "no keypoints can be missing"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_told(words: list[str], told: str, init: Path, shards: Path, tmp_path: Path) -> None:
    given = ["finetune", "handnet-stereo", "--init", init, "--out", tmp_path, "--shards", shards, *TINY, *steps(1, 1)]
    code, _, stderr = handkit(*given, *words)
    assert code == 1
    assert told in stderr
    assert "try: " in stderr


def test_weights_of_other_kinds_and_hands_are_refused(shards: Path, tmp_path: Path) -> None:
    given = ["finetune", "handnet-stereo", "--out", tmp_path / "run", "--shards", shards, *TINY, *steps(1, 1)]
    code, _, stderr = handkit(*given, "--init", tmp_path / "none.safetensors")
    assert code == 1
    assert "none.safetensors" in stderr
