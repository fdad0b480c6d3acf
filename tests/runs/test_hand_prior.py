"""`handkit pretrain hand-prior` from the command line: tiny networks, a few steps."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer

from handkit import hand
from handkit.checkpoint import read_checkpoint
from handkit.data.lixel_targets import lixel_targets
from handkit.data.staged_batches import Batch
from handkit.images import read_image, write_image
from handkit.methods.hand_prior import Estimate
from handkit.methods.hand_prior_recipe import HandPriorRecipe
from handkit.nets.lixel import LixelOutput
from handkit.nets.lixel_system import load_lixel
from handkit.recipe import load_recipe
from handkit.runs.hand_prior import find_data
from handkit.runs.hand_prior_previews import preview
from handkit.train import Place
from handkit_cli import app
from tests.command import handkit

HAND_FILE = Path(hand.__file__).with_name("open_hand.npz")
WEIGHTS = "hand-prior.safetensors"
SMALLEST = ["network.size=64", "data.frame_size=64", "data.sequences=off", "data.validation_hands=4"]
TINY = [
    *("--device", "cpu", "--recipe", "hand-prior-small"),
    *(word for change in SMALLEST for word in ("--set", change)),
    *("--set", "network.features=8", "--set", "network.depth=8", "--set", "network.context=0"),
    *("--set", "learning.batch=4", "--set", "learning.norm_share=1.0", "--set", "train.schedule=constant"),
    *("--set", "train.log_every=1", "--set", "train.validate_every=2", "--set", "train.save_every=2"),
]


def steps(count: int) -> list[str]:
    return ["--set", f"learning.steps={count}"]


def pretrain(out: Path, *arguments: object) -> tuple[int, str, str]:
    return handkit("pretrain", "hand-prior", "--out", out, *arguments)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    code, stdout, stderr = pretrain(out, *TINY, *steps(2), "--json")
    assert code == 0, stderr
    summary = json.loads(stdout)
    assert (summary["planned_steps"], summary["steps"], summary["dry_run"]) == (2, 2, False)
    assert summary["data"] == {
        **{"source": "drawn frames (seqhand)", "learned_from": "drawn", "chosen_by": 4, "epoch": 32_560}
    }
    assert set(summary["held_out"]) == {"points_2d_px", "depth_mm", "pa_mpjpe_mm", "pa_mpvpe_mm", "samples"}
    assert summary["weights"] == str(out / WEIGHTS)
    return out


def test_help_names_every_option() -> None:
    code, stdout, _ = handkit("pretrain", "hand-prior", "--help")
    assert code == 0
    command = typer.main.get_command(app).commands["pretrain"].commands["hand-prior"]  # type: ignore[attr-defined]
    for parameter in command.params:
        assert parameter.opts[0] in stdout
        assert parameter.help, parameter.name


def test_weights_say_what_they_are(trained: Path) -> None:
    network, info = load_lixel(trained / WEIGHTS)
    assert network.describe() == {
        **{"name": "lixel", "backbone": "plain-slim", "features": 8, "depth": 8, "context": 0}
    }
    assert info.method == "hand-prior"
    assert info.data == {"hand": "open", "size": 64, "box_scale": 1.5, "source": "drawn frames (seqhand)"}
    assert info.recipe["network"]["size"] == 64
    assert info.metrics["samples"] == 4
    sheet = read_image(next((trained / "previews").glob("step_*.jpg")))
    assert sheet.shape == (4 * 192, 5 * 192, 3)


def test_what_is_done_is_not_done_again(trained: Path) -> None:
    written = (trained / WEIGHTS).stat().st_mtime_ns
    code, stdout, _ = pretrain(trained, *TINY, *steps(2))
    assert code == 0
    assert "PA-MPVPE, mm" in stdout
    assert f"next: handkit selfsup binocular --init {trained / WEIGHTS}" in stdout
    assert (trained / WEIGHTS).stat().st_mtime_ns == written


def test_other_verbs_say_what_the_weights_are(trained: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "plain.png", np.full((64, 64, 3), 90, np.uint8))
    for method in ("handnet", "s2hand", "seqhand"):
        words = ("--method", method, "--checkpoint", trained / WEIGHTS, "--out", tmp_path / "out", "--device", "cpu")
        code, _, stderr = handkit("demo", tmp_path / "plain.png", *words)
        assert code == 1
        assert "a lixel network" in stderr, stderr


def test_another_run_in_the_same_folder_is_refused(trained: Path, tmp_path: Path) -> None:
    code, _, stderr = pretrain(trained, *TINY, *steps(2), "--set", "loss.edges=2.0")
    assert code == 1
    assert "holds a run of another recipe: loss.edges is 1.0 there, 2.0 here" in stderr
    code, _, stderr = handkit("pretrain", "pose-encoder", "--out", trained, "--device", "cpu")
    assert code == 1
    assert "holds a run of another recipe" in stderr
    shutil.copy(trained / WEIGHTS, tmp_path / WEIGHTS)
    code, _, stderr = pretrain(tmp_path, *TINY, *steps(2))
    assert code == 1
    assert "holds hand-prior weights of another run" in stderr


def test_a_run_goes_on_as_if_it_had_not_been_stopped(tmp_path: Path) -> None:
    rows = {}
    for name, parts in (("whole", [4]), ("parts", [2, 4])):
        for count in parts:
            code, _, stderr = pretrain(tmp_path / name, *TINY, *steps(count))
            assert code == 0, stderr
        log = map(json.loads, (tmp_path / name / "log.jsonl").read_text().splitlines())
        terms = ("loss", "vertices", "joints", "normals", "edges")
        rows[name] = [{key: row[key] for key in terms} for row in log if row["kind"] == "train"]
    assert len(rows["whole"]) == 4
    for one, other in zip(rows["whole"], rows["parts"], strict=True):
        assert other == pytest.approx(one, rel=1e-4)


def test_wrong_settings_are_told(tmp_path: Path) -> None:
    def error(*words: object, exit_code: int = 1) -> str:
        code, stdout, stderr = pretrain(tmp_path / "out", *TINY, *steps(1), *words)
        assert (code, stdout) == (exit_code, ""), stderr
        return re.sub(r"[\s│]+", " ", stderr)

    assert "did you mean loss.joints?" in error("--set", "loss.joint=1")
    assert "is not NAME=DIR" in error("--data", "freihand", exit_code=2)
    assert "did you mean freihand?" in error("--data", "freihant=somewhere")
    assert "nowhere" in error("--data", "freihand=nowhere")
    assert "nowhere" in error("--shards", "nowhere")
    assert "nowhere.pkl" in error("--hand-model", "nowhere.pkl")
    assert "network.size" in error("--set", "network.size=100")
    assert "network.depth" in error("--set", "network.depth=off")
    assert "not whole sequences of 3" in error("--set", "data.frames=3")
    assert "the rate cannot fall after epochs 30" in error("--set", "learning.drops=[30]")
    assert "no recipe" in error("--recipe", "hand-priors")
    assert "plain-slim" in error("--backbone-weights", HAND_FILE)
    assert not (tmp_path / "out").exists()


def test_a_dry_run_trains_nothing(tmp_path: Path) -> None:
    code, stdout, _ = pretrain(tmp_path / "out", "--dry-run")
    assert code == 0
    epoch = 1018
    assert f"{25 * epoch} steps, the rate falls after {17 * epoch}, {21 * epoch}" in stdout
    assert "nothing was trained" in stdout
    code, stdout, _ = pretrain(tmp_path / "out", *TINY, "--dry-run", "--json")
    assert code == 0
    assert json.loads(stdout)["dry_run"] is True
    assert not (tmp_path / "out").exists()


def test_generated_shards_are_learned_from(shards: dict[str, Path], tmp_path: Path) -> None:
    words = [word for folder in shards.values() for word in ("--shards", folder)]
    code, stdout, stderr = pretrain(tmp_path, *TINY, *steps(2), *words, "--set", "data.held_out=0.3", "--json")
    assert code == 0, stderr
    summary = json.loads(stdout)
    assert summary["data"]["source"] == "seqhand=seqhand, stereo=stereo"
    assert summary["data"]["learned_from"] == 8 + 2 * 4
    assert summary["held_out"]["samples"] == 4
    assert 0 < summary["held_out"]["pa_mpvpe_mm"] < 1000


def test_data_without_meshes_of_the_hand_are_refused(shards: dict[str, Path], tmp_path: Path) -> None:
    own = tmp_path / "mine.npz"
    shutil.copy(HAND_FILE, own)
    code, _, stderr = pretrain(tmp_path / "out", *TINY, *steps(1), "--shards", shards["seqhand"], "--hand-model", own)
    assert code == 1
    assert f"nothing in seqhand=seqhand is annotated with vertices of the hand '{own}'" in stderr
    assert "give --hand-model the hand that the data were annotated with" in stderr
    settings = load_recipe(HandPriorRecipe, "hand-prior-small", [*SMALLEST, f"data.shards=['{shards['seqhand']}']"])
    data = find_data(settings)
    assert data.has_vertices
    bare = {**data.known[0], "vertices_valid": np.array(False)}
    assert not replace(data, known=(bare,)).has_vertices  # type: ignore[arg-type]


def test_a_single_picture_is_too_few(tmp_path: Path) -> None:
    words = ("--sequences", 1, "--frames", 1, "--size", 64, "--workers", 1, "--json")
    assert handkit("generate", "seqhand", "--out", tmp_path / "one", *words)[0] == 0
    code, _, stderr = pretrain(tmp_path / "out", *TINY, *steps(1), "--shards", tmp_path / "one")
    assert code == 1
    assert "has 1 pictures, too few to hold some out" in stderr


@pytest.fixture(scope="module")
def seen() -> tuple[Batch, Any]:
    data = find_data(load_recipe(HandPriorRecipe, "hand-prior-small", SMALLEST))
    return next(data.held_out.batches(Place())), data.hand


def test_drawn_hands_are_the_same_ones_whenever_they_are_drawn(seen: tuple[Batch, Any]) -> None:
    again = find_data(load_recipe(HandPriorRecipe, "hand-prior-small", [*SMALLEST, "train.seed=5"]))
    batch = next(again.held_out.batches(Place()))
    for name in ("image", "vertices"):
        assert torch.equal(batch[name], seen[0][name]), name
    learned = next(again.varied(4).batches(0, Place()))
    assert learned["image"].shape == (4, 3, 64, 64)
    assert not set(learned["key"]) & set(batch["key"])


def test_previews_show_true_and_predicted_meshes(seen: tuple[Batch, Any]) -> None:
    batch, model = seen
    targets = lixel_targets(batch, size=64)
    said = LixelOutput(targets["vertices"].clone(), targets["vertices_depth"].clone())
    said.points[1] = torch.nan
    targets["vertices_valid"][2] = False
    sheet = preview(batch, Estimate(said, targets), model.faces)
    cells = sheet.reshape(4, 192, 5, 192, 3).transpose(0, 2, 1, 3, 4)
    covered = (cells[:, 1:3] != cells[:, :1]).any(-1)
    assert (covered[0, 0] == covered[0, 1]).mean() > 0.999  # the same mesh in another colour
    mask = np.kron(batch["mask"][0].numpy(), np.ones((3, 3))) > 0
    assert (covered[0, 0] & mask).sum() > 0.8 * mask.sum()  # where the hand is seen
    assert covered[1, 0].any()
    assert not covered[2, 0].any()
    assert covered[2, 1].any()
    aside = (cells[:, 3:] != cells[2, 3, 0, 0]).any(-1)
    assert aside[0, 0].sum() > 500
    assert (aside[0, 0] == aside[0, 1]).mean() > 0.999
    assert not aside[2, 0].any()


def test_lixels_are_kept_with_the_weights(trained: Path) -> None:
    info, state = read_checkpoint(trained / WEIGHTS)
    assert info.network["depth"] == 8
    assert state["depth.z.weight"].shape[0] == 778
