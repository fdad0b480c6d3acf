"""Two processes of `torchrun` learn as one does; the first alone writes; all stop together."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from handkit.checkpoint import read_checkpoint
from handkit.train import seed_all
from tests.train.worker import CURVE, GRADIENT, Pictures, go


class Together(NamedTuple):
    """The runs' folder, and what each process tells."""

    out: Path
    said: list[dict[str, Any]]


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Together:
    out, told = tmp_path_factory.mktemp("runs"), tmp_path_factory.mktemp("told")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run(
        [*launcher, "-m", "tests.train.worker", str(out), str(told)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return Together(out, [json.loads((told / f"{rank}.json").read_text()) for rank in range(2)])


def rows(folder: Path, kind: str) -> list[dict[str, float]]:
    found = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [row for row in found if row["kind"] == kind]


@pytest.mark.parametrize("name", ["gradient", "accumulated"])
def test_the_gradients_are_those_of_one_process(together: Together, tmp_path: Path, name: str) -> None:
    go(tmp_path, accumulate=2 if name == "accumulated" else 1, **GRADIENT)
    seed_all(0)
    begun = Pictures().network.state_dict()
    one, two = (read_checkpoint(folder / "pictures.safetensors")[1] for folder in (tmp_path, together.out / name))
    learnt = [key for key in begun if "running" not in key and "tracked" not in key]
    assert len(learnt) == 6
    for key in learnt:
        gradients = [begun[key] - state[key] for state in (one, two)]
        assert gradients[0].abs().max() > 1e-3
        torch.testing.assert_close(gradients[1], gradients[0], rtol=0, atol=1e-5)


def test_the_curve_and_the_validations_are_those_of_one_process(together: Together, tmp_path: Path) -> None:
    go(tmp_path, **CURVE)
    for key in ("loss", "mean", "spread", "gradient_norm", "lr"):
        one, two = ([row[key] for row in rows(folder, "train")] for folder in (tmp_path, together.out / "curve"))
        assert len(one) == 8
        np.testing.assert_allclose(two, one, rtol=0, atol=1e-5)
    checks = [rows(folder, "validation") for folder in (tmp_path, together.out / "curve")]
    assert [row["samples"] for row in checks[1]] == [9, 9]
    for one, two in zip(*checks, strict=True):
        assert two == pytest.approx(one, abs=1e-5)


def test_the_first_process_alone_writes(together: Together) -> None:
    assert together.said[1]["written"] == []
    names = {Path(path).name for path in together.said[0]["written"]}
    assert {"log.jsonl", "train.csv", "validation.csv", "gradient"} <= names
    kept = {"recipe.json", "resume.pt", "pictures.safetensors", "log.jsonl", "train.csv", "validation.csv"}
    assert {path.name for path in (together.out / "curve").iterdir()} - {"tensorboard"} == kept


def test_all_stop_together_and_go_on(together: Together) -> None:
    for said in together.said:
        assert (said["stopped"], said["interrupted"], said["again"]) == (3, True, 8)
    whole, parts = (rows(together.out / name, "train") for name in ("whole", "parts"))
    assert [row["step"] for row in parts] == list(range(1, 9))
    np.testing.assert_allclose([row["loss"] for row in parts], [row["loss"] for row in whole], rtol=0, atol=1e-9)
    assert together.said[0]["metrics"] == together.said[1]["metrics"]


def test_every_process_tells_whose_loss_is_not_finite(together: Together) -> None:
    for said in together.said:
        assert said["bad"] == "the loss term spread is nan at step 6 (samples 5_3, 5_4, 5_5)"
        assert 'train.norm is "train" there, "eval" here' in said["other"]


def test_statistics_are_shared(together: Together) -> None:
    assert together.said[0]["mean"] == together.said[1]["mean"]
    state = read_checkpoint(together.out / "statistics" / "pictures.safetensors")[1]
    assert state["1.running_mean"].abs().min() > 1e-4
