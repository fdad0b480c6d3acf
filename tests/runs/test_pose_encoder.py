"""`handkit pretrain pose-encoder` from the command line."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from handkit_cli import app

RUNNER = CliRunner()
TINY = ["--device", "cpu", "--set", "network.width=16", "--set", "data.batch=16", "--set", "data.held_out=40"]


def handkit(*arguments: object) -> tuple[int, str, str]:
    result = RUNNER.invoke(app, ["pretrain", "pose-encoder", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def test_help_names_every_option() -> None:
    code, stdout, _ = handkit("--help")
    assert code == 0
    command = typer.main.get_command(app).commands["pretrain"].commands["pose-encoder"]  # type: ignore[attr-defined]
    for parameter in command.params:
        assert parameter.opts[0] in stdout
        assert parameter.help, parameter.name


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--set", "train.steps"], "not KEY=VALUE"),
        (["--device", "tpu"], "tpu"),
        (["--seed", "-1"], "greater than or equal to 0"),
    ],
)
def test_bad_command_lines_exit_2(arguments: list[str], said: str) -> None:
    code, stdout, stderr = handkit(*arguments)
    assert (code, stdout) == (2, "")
    assert said in re.sub(r"[\s│]+", " ", stderr)


def test_a_wrong_setting_is_told(tmp_path: Path) -> None:
    code, stdout, stderr = handkit("--out", tmp_path, "--set", "train.stepz=3", "--json")
    assert code == 1
    assert stderr.startswith("error: --set train.stepz is no setting (did you mean train.steps?)\ntry: ")
    assert json.loads(stdout)["error"].startswith("--set train.stepz")
    assert not list(tmp_path.iterdir())
    code, _, stderr = handkit("--out", tmp_path, "--hand-model", "nowhere.pkl")
    assert (code, "nowhere.pkl" in stderr) == (1, True)


def test_a_run_and_its_table(tmp_path: Path) -> None:
    changes = ["--out", tmp_path, *TINY, "--set", "train.steps=3", "--seed", 7]
    code, stdout, stderr = handkit(*changes, "--json")
    assert (code, stderr) == (0, "")
    summary = json.loads(stdout)
    assert summary["steps"] == summary["of"] == 3
    assert set(summary["held_out"]) == {"samples", "natural", "shapes", "noisy", "uniform", "floor_10"}
    assert json.loads((tmp_path / "recipe.json").read_text())["train"]["seed"] == 7
    code, stdout, _ = handkit(*changes)
    assert code == 0
    assert f"{summary['held_out']['natural']['joints_45_mm']:.2f}" in stdout
    assert f"wrote {tmp_path}/pose-encoder.safetensors" in stdout
    code, _, stderr = handkit(*changes, "--set", "train.lr=0.1")
    assert code == 1
    assert "holds a run of another recipe" in stderr
    assert handkit(*changes, "--set", "train.lr=0.1", "--force")[0] == 0


def test_interrupted_and_done_again(tmp_path: Path) -> None:
    program = [sys.executable, "-c", "from handkit_cli import app; app()", "pretrain", "pose-encoder"]
    options = ["--out", str(tmp_path), *TINY, "--set", "train.log_every=1", "--set", "train.steps=100"]
    process = subprocess.Popen([*program, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (tmp_path / "train.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert re.fullmatch(r"to go on: \S+ pretrain pose-encoder --out .*train\.steps=100\n", stderr), stderr
    stopped = re.match(r"stopped after step (\d+) of 100, which (.+) holds\ninterrupted: the same command", stdout)
    assert stopped, stdout
    code, stdout, _ = handkit(*options)
    assert code == 0
    assert "100 steps" in stdout
    rows = (tmp_path / "train.csv").read_text().splitlines()[1:]
    assert [int(row.split(",")[0]) for row in rows] == list(range(1, 101))
