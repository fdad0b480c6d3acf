"""`handkit pretrain seqhand` and `handkit finetune seqhand` from the command line, on networks that know nothing."""

import json
import re
from pathlib import Path

import pytest
import torch

from handkit.checkpoint import read_checkpoint
from handkit.nets import load_network
from tests.command import handkit

TINY = [
    *("--device", "cpu", "--recipe", "seqhand-small", "--set", "network.size=64", "--set", "data.batch=2"),
    *("--set", "data.frames=2", "--set", "data.validation_sequences=2", "--set", "train.log_every=1"),
    *("--set", "train.warmup_steps=0", "--set", "train.validate_every=2", "--set", "train.save_every=2"),
]
STILLS = [
    "--device",
    "cpu",
    "--set",
    "data.batch=4",
    "--set",
    "data.validation_stills=4",
    "--set",
    "train.warmup_steps=0",
]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight generated frames in two sequences."""
    out = tmp_path_factory.mktemp("shards")
    code, _, stderr = handkit(
        *("generate", "seqhand", "--out", out, "--sequences", 2, "--frames", 4, "--size", 64, "--workers", 1, "--json")
    )
    assert code == 0, stderr
    return out


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory, shards: Path) -> Path:
    out = tmp_path_factory.mktemp("run")
    code, _, stderr = handkit("pretrain", "seqhand", "--out", out, "--shards", shards, *TINY, "--set", "train.steps=2")
    assert code == 0, stderr
    return out / "seqhand-small.safetensors"


def test_pretraining_ends_with_weights_that_say_what_they_are(pretrained: Path) -> None:
    network, info = load_network(pretrained)
    assert (info.method, info.step, info.data["hand"], info.data["size"]) == ("seqhand-small", 2, "open", 64)
    assert info.recipe["loss"]["temporal_pose"] == 2e-4
    assert info.metrics["samples"] == 4
    assert network.memory is not None
    assert {path.name for path in pretrained.parent.iterdir()} >= {"recipe.json", "log.jsonl", "train.csv", "resume.pt"}


def test_a_run_goes_on_as_if_it_had_not_been_stopped(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    handkit("pretrain", "seqhand", "--out", whole, *TINY, "--set", "train.steps=4", "--set", "train.schedule=constant")
    for steps in (2, 4):
        code, stdout, stderr = handkit(
            *("pretrain", "seqhand", "--out", parts, *TINY, "--json"),
            *("--set", f"train.steps={steps}", "--set", "train.schedule=constant"),
        )
        assert code == 0, stderr
        assert json.loads(stdout)["steps"] == steps
    rows = [
        [row for line in (out / "log.jsonl").read_text().splitlines() if (row := json.loads(line))["kind"] == "train"]
        for out in (whole, parts)
    ]
    assert len(rows[0]) == 4
    for one, other in zip(*rows, strict=True):
        for term in ("loss", "joints_2d", "joints_3d", "temporal", "mask", "camera_r"):
            assert other[term] == pytest.approx(one[term], rel=1e-6, abs=1e-6), (one["step"], term)


def test_another_recipe_in_the_same_folder_is_refused(pretrained: Path, shards: Path) -> None:
    code, _, stderr = handkit(
        *("pretrain", "seqhand", "--out", pretrained.parent, "--shards", shards, *TINY),
        *("--set", "train.steps=2", "--set", "loss.mask=1"),
    )
    assert code == 1
    assert "loss.mask is 10.0 there, 1.0 here" in stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--set", "loss.mast=1"], "--set loss.mast is no setting (did you mean loss.mask?)"),
        (["--network", "seqhand-smal"], "did you mean seqhand-small?"),
        (["--shards", "nowhere"], "nowhere"),
        (["--recipe", "seqhand-nett"], "did you mean seqhand-net"),
        (["--backbone-weights", "nowhere.pth"], "nowhere.pth"),
        (["--set", "data.batch=0"], "data.batch"),
    ],
)
def test_wrong_settings_are_told(tmp_path: Path, arguments: list[str], said: str) -> None:
    code, _, stderr = handkit("pretrain", "seqhand", "--out", tmp_path / "run", *TINY, *arguments)
    assert code == 1
    assert said in stderr
    assert "try: " in stderr


@pytest.mark.parametrize("recipe", ["seqhand-finetune", "seqhand-finetune-unfrozen"])
def test_finetuning_freezes_the_memory_or_not(tmp_path: Path, pretrained: Path, shards: Path, recipe: str) -> None:
    code, stdout, stderr = handkit(
        *("finetune", "seqhand", "--init", pretrained, "--data", f"seqhand={shards}", "--recipe", recipe),
        *("--out", tmp_path, *STILLS, "--set", "train.steps=2", "--json"),
    )
    assert code == 0, stderr
    summary = json.loads(stdout)
    (_, before), (info, after) = read_checkpoint(pretrained), read_checkpoint(summary["weights"])
    memory = [name for name in before if name.startswith("memory.")]
    # Pretrained weights are kept as fp16, the finetuned ones whole.
    same = [torch.equal(before[name].float(), after[name].float()) for name in memory]
    assert memory
    assert all(kept is (recipe == "seqhand-finetune") for kept in same)
    assert info.data["memory_frozen"] is (recipe == "seqhand-finetune")
    assert info.data["finetuned_on"] == [f"seqhand={shards.name}"]
    assert set(summary["held_out"]) >= {"joints_2d_px", "joints_3d_root_mm", "joints_3d_pa_mm"}


def test_finetuning_says_what_it_needs(tmp_path: Path, pretrained: Path, shards: Path) -> None:
    for arguments, expected, said in (
        (["--init", pretrained], 1, "give --data NAME=DIR"),
        (["--init", pretrained, "--data", "freihand"], 2, "not NAME=DIR"),
        (["--init", pretrained, "--data", f"freihant={shards}"], 1, "did you mean freihand"),
        (["--init", pretrained, "--data", f"egodexter={shards}"], 1, "egodexter"),
        (["--init", shards / "dataset.json", "--data", f"seqhand={shards}"], 1, "safetensors"),
    ):
        code, _, stderr = handkit("finetune", "seqhand", "--out", tmp_path / "run", *STILLS, *arguments)
        assert code == expected, stderr
        assert said in re.sub(r"[\s│]+", " ", stderr)
    frames = tmp_path / "frames"
    code, _, stderr = handkit(
        *("pretrain", "seqhand", "--out", frames, "--shards", shards, *TINY, "--network", "seqhand-resnet50"),
        *("--set", "train.steps=1", "--set", "train.half_weights=false", "--quiet"),
    )
    assert code == 0, stderr
    code, _, stderr = handkit(
        *("finetune", "seqhand", "--init", frames / "seqhand-resnet50.safetensors", "--out", tmp_path / "run"),
        *("--data", f"seqhand={shards}", *STILLS),
    )
    assert (code, "no recurrent layer" in stderr) == (1, True)
