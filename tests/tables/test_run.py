"""Tables from the command line, on networks that know nothing: resumed, with rows that fail, interrupted."""

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from handkit.checkpoint import read_checkpoint
from handkit.recipe import load_recipe
from handkit.tables import measuring
from handkit.tables.seqhand import SeqHandTraining
from handkit.tables.seqhand_recipe import SeqHandTable
from tests.command import handkit

TINY = [
    *("network.size=64", "data.batch=2", "data.frames=2", "data.validation_sequences=2", "data.workers=0"),
    *("train.steps=1", "train.warmup_steps=0", "train.log_every=1"),
]


def changed(changes: list[str], stage: str = "") -> list[str]:
    return [part for change in changes for part in ("--set", stage + change)]


def generate(out: Path, *options: object) -> Path:
    code, _, stderr = handkit("generate", "seqhand", "--out", out, "--size", 64, "--workers", 1, "--json", *options)
    assert code == 0, stderr
    return out


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Generated folders: to learn from, stills, and to measure on."""
    folder = tmp_path_factory.mktemp("sets")
    return {
        "train": generate(folder / "train", "--sequences", 2, "--frames", 2),
        "val": generate(folder / "val", "--sequences", 2, "--frames", 4, "--split", "val"),
    }


@pytest.fixture(scope="module")
def table2(tmp_path_factory: pytest.TempPathFactory, sets: dict[str, Path]) -> tuple[list[object], Path]:
    """The compact Table 2, made once: its command, its folder."""
    out = tmp_path_factory.mktemp("table2")
    command = ["pretrain", "seqhand-table2", "--recipe", "seqhand-table2-small", "--out", out, "--device", "cpu"]
    command += ["--validation", sets["val"], "--shards", sets["train"], "--seeds", 2, *changed(TINY)]
    code, stdout, stderr = handkit(*command)
    assert code == 0, stderr
    assert "not the fixed validation set: recipe.frames 4, not 10; recipe.size 64, not 224" in stdout
    assert "mean ± standard deviation over 2 seeds" in stdout
    assert "seqhand-small-frame, seed 1: training" in stderr
    return command, out


def test_a_table_is_printed_and_written(table2: tuple[list[object], Path]) -> None:
    _, out = table2
    summary = json.loads((out / "table.json").read_text())
    row = summary["rows"]["seqhand-small"]
    assert set(row["seeds"]) == {"0", "1"}
    figures = row["seeds"]["0"]
    assert figures["validation.count"] == 8
    assert figures["params_m"] == pytest.approx(7.29, abs=0.01)
    assert figures["images_per_s"] > 0
    assert figures["validation.mpjpe_mm"] != row["seeds"]["1"]["validation.mpjpe_mm"]
    means = [run["validation.mpjpe_mm"] for run in row["seeds"].values()]
    assert row["mean"]["validation.mpjpe_mm"] == pytest.approx(sum(means) / 2)
    scored = json.loads((out / "seqhand-small/seed0/scores/validation/metrics.json").read_text())
    assert figures["validation.mpjpe_mm"] == scored["mpjpe_mm"]
    with (out / "table.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["row"], line["seed"]) for line in lines] == [
        *(("seqhand-small-frame", str(seed)) for seed in (0, 1)),
        *(("seqhand-small", str(seed)) for seed in (0, 1)),
    ]
    assert "| compact + ConvLSTM (`seqhand-small`) |" in (out / "table.md").read_text()


def test_what_is_done_is_not_done_again(table2: tuple[list[object], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    command, out = table2
    before = (out / "table.csv").read_bytes()
    weights = out / "seqhand-small/seed1/seqhand-small.safetensors"
    stamp = weights.stat().st_mtime_ns

    def scored(*_: object, **__: object) -> None:
        raise AssertionError("a set was measured again")

    monkeypatch.setattr(measuring, "run_evaluate", scored)
    code, stdout, _ = handkit(*command, "--json")
    assert code == 0
    assert json.loads(stdout)["failed"] == {}
    assert (out / "table.csv").read_bytes() == before
    assert weights.stat().st_mtime_ns == stamp


def test_a_row_that_fails_does_not_stop_the_others(
    tmp_path: Path, table2: tuple[list[object], Path], sets: dict[str, Path]
) -> None:
    good = table2[1] / "seqhand-small" / "seed{seed}" / "seqhand-small.safetensors"
    command = ["pretrain", "seqhand-table2", "--recipe", "seqhand-table2-small", "--out", tmp_path, "--device", "cpu"]
    command += ["--validation", sets["val"], "--weights", f"seqhand-small={good}"]
    command += ["--weights", f"seqhand-small-frame={sets['val'] / 'dataset.json'}"]
    code, stdout, stderr = handkit(*command, "--json")
    assert code == 1
    assert "error: seqhand-small-frame, seed 0: " in stderr
    summary = json.loads(stdout)
    assert list(summary["failed"]) == ["seqhand-small-frame, seed 0"]
    ours = json.loads((table2[1] / "table.json").read_text())["rows"]["seqhand-small"]["seeds"]["0"]
    found = summary["rows"]["seqhand-small"]["seeds"]["0"]
    assert found["validation.mpjpe_mm"] == ours["validation.mpjpe_mm"]
    assert "seconds" not in found  # it was not trained here


def test_an_interrupted_table_exits_130(tmp_path: Path, sets: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    train = SeqHandTraining.train

    def stopped(*arguments: Any, **options: Any) -> Any:
        return dataclasses.replace(train(*arguments, **options), interrupted=True)

    monkeypatch.setattr(SeqHandTraining, "train", stopped)
    command = ["pretrain", "seqhand-table2", "--recipe", "seqhand-table2-small", "--out", tmp_path, "--device", "cpu"]
    command += ["--validation", sets["val"], "--shards", sets["train"], "--rows", "seqhand-small", *changed(TINY)]
    code, stdout, _ = handkit(*command)
    assert code == 130
    assert "interrupted: the same command again goes on" in stdout
    monkeypatch.setattr(SeqHandTraining, "train", train)
    code, stdout, _ = handkit(*command, "--json")
    assert (code, list(json.loads(stdout)["rows"]["seqhand-small"]["seeds"])) == (0, ["0"])


def test_table_3_moves_rows_to_stills_with_the_memory_frozen_or_not(
    tmp_path: Path, table2: tuple[list[object], Path], sets: dict[str, Path]
) -> None:
    table = load_recipe(SeqHandTable, "seqhand-table3-small")
    recipe = tmp_path / "table.json"
    recipe.write_text(json.dumps({**table.model_dump(mode="json"), "sets": [table.sets[0].model_dump(mode="json")]}))
    pretrained = table2[1] / "seqhand-small" / "seed0" / "seqhand-small.safetensors"
    command = ["finetune", "seqhand-table3", "--recipe", recipe, "--out", tmp_path, "--device", "cpu"]
    command += ["--weights", f"memory={pretrained}", "--rows", "frame-finetuned,memory-finetuned,memory-frozen"]
    command += ["--train", f"seqhand={sets['train']}", "--data", f"moving={sets['val']}", "--shards", sets["train"]]
    command += changed(["data.batch=4", "data.validation_stills=2", "train.steps=2", "train.warmup_steps=0"])
    code, stdout, stderr = handkit(*command, *changed(TINY, stage="pretrain."), "--json")
    assert code == 0, stderr
    summary = json.loads(stdout)
    # What rows start from is made too.
    assert list(summary["rows"]) == ["frame", "frame-finetuned", "memory", "memory-finetuned", "memory-frozen"]
    assert [(claim["first"], claim["second"], claim["figure"]) for claim in summary["comparisons"]] == [
        ("memory-frozen", "memory-finetuned", "moving.mpjpe_mm"),
        ("memory-frozen", "frame-finetuned", "moving.mpjpe_mm"),
    ]
    frames = json.loads((tmp_path / "frame" / "seed0" / "recipe.json").read_text())["data"]
    assert (frames["batch"], frames["frames"]) == (4, 1)  # as many pictures a step as 2 sequences of 2
    _, before = read_checkpoint(pretrained)
    memory = [name for name in before if name.startswith("memory.")]
    for row, frozen in (("memory-frozen", True), ("memory-finetuned", False)):
        _, after = read_checkpoint(tmp_path / row / "seed0" / "seqhand-small.safetensors")
        assert all(torch.equal(before[name].float(), after[name].float()) for name in memory) is frozen, row


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["pretrain", "seqhand-table2", "--rows", "seqhand-lstn"], 1, "did you mean seqhand-lstm?"),
        (["pretrain", "seqhand-table2", "--weights", "seqhand"], 2, "NAME=VALUE"),
        (["pretrain", "seqhand-table2", "--recipe", "seqhand-net"], 1, "is no setting"),
        (["pretrain", "seqhand-table2", "--validation", "nowhere"], 1, "nowhere does not exist"),
        (["pretrain", "seqhand-table2", "--set", "train.step=1"], 1, "did you mean train.steps?"),
        (["finetune", "seqhand-table3", "--data", "sbt=DIR"], 1, "did you mean stb?"),
        (["finetune", "seqhand-table3", "--data", "stb=nowhere"], 1, "nowhere does not exist"),
        (["finetune", "seqhand-table3", "--set", "pretrain.train.step=1"], 1, "did you mean train.steps?"),
        (["finetune", "seqhand-table3", "--set", "train.step=1"], 1, "did you mean train.steps?"),
        (["finetune", "seqhand-table3", "--train", "freihand"], 2, "NAME=DIR"),
    ],
)
def test_what_is_wrong_is_told_before_any_work(tmp_path: Path, arguments: list[str], code: int, said: str) -> None:
    found, _, stderr = handkit(*arguments, "--out", tmp_path / "out", "--device", "cpu")
    assert found == code
    assert said in stderr
    assert not (tmp_path / "out").exists()
