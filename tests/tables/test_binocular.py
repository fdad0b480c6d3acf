"""The ablation of binocular transfer from the command line, on priors that know nothing: shared, resumed, refused."""

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from handkit.data.binocular_batches import PairCutter
from handkit.data.sample import float_images
from handkit.data.stb import SPLITS
from handkit.errors import HandkitError
from handkit.hand.mesh_joints import joints_of_mesh
from handkit.methods.binocular_measures import true_pair
from handkit.methods.binocular_views import place_pairs
from handkit.nets.lixel_system import load_lixel
from handkit.recipe import load_recipe
from handkit.runs.binocular import BinocularOptions, selfsup_binocular
from handkit.runs.binocular_pairs import BinocularPairs
from handkit.tables import binocular as training
from handkit.tables import binocular_measuring as measuring
from handkit.tables.binocular import BinocularTraining
from handkit.tables.binocular_measuring import HeldOutPairs, measure_pairs
from handkit.tables.binocular_recipe import FIGURES, BinocularTable
from handkit.tables.run import TableOptions
from handkit.train import Place
from tests.data.trees import write_stb
from tests.demo.two_views import BESIDE, make_scene, write_pictures, write_rig
from tests.gather.pair_making import Gatherer
from tests.methods.binocular_pairs import make_shards, write_prior
from tests.tables.test_run import changed, handkit

PAIRS = 8
TINY = [
    *("learning.steps=2", "learning.batch=2", "data.held_out=0.25", "data.validation_pairs=1", "data.workers=0"),
    *("forms.appearance_px=32", "forms.silhouette_px=32"),
    *("train.validate_every=2", "train.save_every=1", "train.log_every=1"),
]
ROWS = "before,all,without-epipolar,silhouette-alone"


@pytest.fixture(scope="module")
def init(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prior(tmp_path_factory.mktemp("prior") / "hand-prior.safetensors")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("pairs") / "stereo", PAIRS)


def command(init: Path, out: Path, *more: object) -> list[object]:
    arguments: list[object] = ["selfsup", "binocular-table", "--init", init, "--out", out, "--device", "cpu"]
    return [*arguments, "--recipe", "binocular-ablation-small", *changed(TINY), *more]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory, init: Path, shards: Path) -> Path:
    """Some rows of two seeds, made once: their folder."""
    out = tmp_path_factory.mktemp("table")
    code, stdout, stderr = handkit(*command(init, out, "--shards", shards, "--rows", ROWS, "--seeds", 2))
    assert code == 0, stderr
    assert "there are no published figures of these terms" in stdout
    assert f"held-out: 2 of 8 pairs, {shards}" in stdout
    assert "mean ± standard deviation over 2 seeds" in stdout
    assert "held-out.mpvpe_mm: all " in stdout
    assert "next: handkit demo --stereo" in stdout
    assert "all, seed 1: training" in stderr
    assert "before, seed 0: measuring" in stderr
    assert "before, seed 0: training" not in stderr
    assert "all, seed 0: one_shape was 0 in all steps that are logged" in stderr  # every pair is of another hand
    assert stderr.count("one_shape was 0") == 1
    return out


def figures_of(out: Path, row: str, seed: int = 0) -> dict[str, float]:
    return json.loads((out / "ablation.json").read_text())["rows"][row]["seeds"][str(seed)]


def recipe_of(out: Path, row: str, seed: int = 0) -> dict[str, Any]:
    return json.loads((out / row / f"seed{seed}" / "recipe.json").read_text())


def test_rows_learn_by_their_losses_and_share_all_else(table: Path, init: Path) -> None:
    rows = {row: recipe_of(table, row) for row in ROWS.split(",")[1:]}
    losses = {row: recipe.pop("loss") for row, recipe in rows.items()}
    ends = {row: recipe.pop("pull_ends") for row, recipe in rows.items()}
    assert rows["all"] == rows["without-epipolar"] == rows["silhouette-alone"]
    assert ends == {"all": 1, "without-epipolar": 1, "silhouette-alone": None}
    usual = losses["all"]
    assert losses["without-epipolar"] == {**usual, "epipolar": 0.0}
    terms = ("epipolar", "appearance", "edges", "normals", "one_shape")
    assert losses["silhouette-alone"] == {**usual, **dict.fromkeys(terms, 0.0), "prior_decay": None}
    assert not (table / "before/seed0/recipe.json").exists()
    assert recipe_of(table, "all", 1)["train"]["seed"] == 1


def test_every_row_is_measured_on_the_same_pairs(table: Path, init: Path, shards: Path) -> None:
    before = figures_of(table, "before")
    assert before == figures_of(table, "before", 1)
    assert {f"held-out.{name}" for name in FIGURES} | {"params_m"} == set(before)
    assert before["held-out.count"] == 2  # not the one alone that weights are chosen by
    found = figures_of(table, "all")
    assert set(found) - set(before) == {"seconds", "images_per_s", "best_step"}
    assert found["best_step"] == 2
    assert all(np.isfinite(value) for run in (before, found) for value in run.values())
    assert found["held-out.mpvpe_mm"] != before["held-out.mpvpe_mm"]
    assert found["held-out.mpvpe_mm"] != figures_of(table, "all", 1)["held-out.mpvpe_mm"]
    assert found["held-out.mpvpe_mm"] != figures_of(table, "without-epipolar")["held-out.mpvpe_mm"]


def test_a_row_is_the_run_of_its_settings(table: Path, init: Path, shards: Path, tmp_path: Path) -> None:
    """Whatever crops other rows left in memory."""
    common = load_recipe(BinocularTable, "binocular-ablation-small").changes
    changes = [*common, *TINY, f"data.shards={json.dumps(str(shards))}", "train.seed=0", "loss.epipolar=0"]
    selfsup_binocular(
        tmp_path, BinocularOptions(init=init), recipe="binocular-small", changes=changes, device="cpu", force=False
    )
    assert json.loads((tmp_path / "recipe.json").read_text()) == recipe_of(table, "without-epipolar")
    alone, row = (
        load_lixel(folder / "binocular.safetensors")[0].state_dict()
        for folder in (tmp_path, table / "without-epipolar/seed0")
    )
    for name, value in row.items():
        assert torch.equal(alone[name], value), name


def prepared(init: Path, shards: Path, out: Path) -> BinocularTraining:
    found = load_recipe(BinocularTable, "binocular-ablation-small")
    made = BinocularTraining(found, init, changes=[*TINY, f'data.shards="{shards}"'])
    made.prepare(out, [], TableOptions().how, lambda _: None)
    return made


def all_held_out(init: Path, shards: Path, out: Path) -> BinocularPairs:
    held_out = HeldOutPairs(prepared(init, shards, out))
    return held_out._pairs(init)


def test_figures_are_means_and_medians_over_the_held_out_pairs(
    table: Path, init: Path, shards: Path, tmp_path: Path
) -> None:
    pairs, (network, _) = all_held_out(init, shards, tmp_path), load_lixel(init)
    assert pairs.chosen_by.tolist() == [6, 7]
    (batch,) = pairs.batches(Place())
    with torch.no_grad():
        points = network(float_images(batch["image"])).points.double()
    said, true = place_pairs(points, batch, size=64).found.right, true_pair(batch)
    errors = 1000 * (said - true.vertices).norm(dim=-1).mean(-1)
    joints = 1000 * (joints_of_mesh(said, pairs.hand) - true.joints).norm(dim=-1).mean(-1)
    before = figures_of(table, "before")
    assert before["held-out.mpvpe_mm"] == pytest.approx(float(errors.mean()), rel=1e-5)
    assert before["held-out.mpjpe_mm"] == pytest.approx(float(joints.mean()), rel=1e-5)
    assert before["held-out.pa_mpjpe_mm"] < before["held-out.mpjpe_mm"]
    assert before["held-out.median_mpvpe_mm"] == pytest.approx(float(np.median(errors)), rel=1e-5)


def test_undefined_values_are_left_out(
    init: Path, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"mpvpe_mm": [1.0, torch.nan], "depth_mm": [3.0, 9.0], "silhouette_iou": [torch.nan] * 2}
    monkeypatch.setattr(measuring, "_measure", lambda *_: {name: torch.tensor(each) for name, each in values.items()})
    found = measure_pairs(load_lixel(init)[0], all_held_out(init, shards, tmp_path), Place())
    expected = {"mpvpe_mm": 1.0, "depth_mm": 6.0, "median_mpvpe_mm": 1.0, "median_depth_mm": 6.0, "count": 2.0}
    assert found == expected


def test_the_table_is_written(table: Path) -> None:
    with (table / "ablation.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["row"], line["seed"]) for line in lines] == [(row, seed) for row in ROWS.split(",") for seed in "01"]
    text = (table / "ablation.md").read_text()
    assert "| held-out | mesh, mm | median mesh, mm | 3D, mm | depth, mm | PA mesh, mm | PA 3D, mm | gap, px" in text
    assert "| before: the prior (`before`) |" in text
    assert "| silhouette alone, the prior's pull staying (`silhouette-alone`) |" in text
    assert "there are no published figures" in text
    assert "published |" not in text
    comparisons = json.loads((table / "ablation.json").read_text())["comparisons"]
    assert [(one["first"], one["second"], one["seeds"]) for one in comparisons] == [
        ("all", "before", 2),
        ("all", "without-epipolar", 2),
    ]


def test_what_is_done_is_not_done_again_and_rows_may_follow(
    table: Path, init: Path, shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured, weights = measuring.measure_pairs, table / "all/seed0/binocular.safetensors"
    begun: list[int] = []

    def counted(*arguments: Any) -> Any:
        begun.append(1)
        return measured(*arguments)

    monkeypatch.setattr(measuring, "measure_pairs", counted)
    before, stamp = figures_of(table, "all"), weights.stat().st_mtime_ns
    rows = ["--rows", f"{ROWS},without-edges"]
    code, stdout, stderr = handkit(*command(init, table, "--shards", shards, *rows), "--json")
    assert code == 0, stderr
    assert len(begun) == 1
    assert json.loads(stdout)["rows"]["all"]["seeds"]["0"] == before
    assert weights.stat().st_mtime_ns == stamp


def test_crops_are_cut_once_for_all_rows_of_a_seed(
    init: Path, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut: list[int] = []
    cutter = PairCutter.__call__

    def counted(self: PairCutter, numbers: Any) -> Any:
        cut.extend(numbers)
        return cutter(self, numbers)

    monkeypatch.setattr(PairCutter, "__call__", counted)
    rows = ["--rows", "all,without-epipolar,without-edges"]
    code, _, stderr = handkit(*command(init, tmp_path, "--shards", shards, *rows))
    assert code == 0, stderr
    learned = [number for number in cut if number < 6]
    assert len(learned) == len(set(learned))
    assert sorted(cut).count(6) <= 2  # as one that weights are chosen by, and as one that is measured


def test_pairs_are_made_once_where_none_are_given(init: Path, tmp_path: Path) -> None:
    arguments = command(init.parent, tmp_path, "--rows", "before,all", "--seeds", 2)
    arguments += changed(["data.pairs=5", "data.masks=off"])
    code, stdout, stderr = handkit(*arguments, "--json")
    assert code == 0, stderr
    assert f"to learn from: 5 pairs in {tmp_path / 'pairs'}" in stderr
    card = json.loads((tmp_path / "pairs/dataset.json").read_text())
    assert card["settings"]["recipe"]["same_hand"] == 5  # pairs of the recipe that a prior moves to
    assert len(list(tmp_path.rglob("dataset.json"))) == 1
    assert recipe_of(tmp_path, "all", 1)["data"]["shards"] == str(tmp_path / "pairs")
    seeds = json.loads(stdout)["rows"]["all"]["seeds"]
    assert list(seeds) == ["0", "1"]
    assert "held-out.silhouette_iou" not in seeds["0"]
    code, again, stderr = handkit(*arguments, "--json")
    assert code == 0, stderr
    assert json.loads(again)["rows"] == json.loads(stdout)["rows"]


def test_pairs_without_meshes_are_measured_by_joints(init: Path, tmp_path: Path) -> None:
    root = write_stb(tmp_path / "stb", frames=1, sequences=SPLITS["train"])
    for path in root.glob("*/BB_left_0.png"):
        path.with_name("BB_right_0.png").write_bytes(path.read_bytes())
    code, stdout, stderr = handkit(
        *command(init, tmp_path / "out", "--data", f"stb={root}", "--rows", "before", "--json")
    )
    assert code == 0, stderr
    found = json.loads(stdout)["rows"]["before"]["seeds"]["0"]
    assert {"held-out.mpjpe_mm", "held-out.pa_mpjpe_mm", "held-out.median_mpjpe_mm"} <= set(found)
    assert not [name for name in found if "mpvpe" in name]


def test_own_views_are_gathered_once_and_measured_without_labels(
    init: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, right = write_pictures(tmp_path / "a", 4), write_pictures(tmp_path / "b", 4)
    rig = write_rig(tmp_path / "rig.json", BESIDE)
    Gatherer(tmp_path, monkeypatch.setattr)(left, right, rig, make_scene(4))
    views = f'data.stereo=[{{left = "{left}", right = "{right}", rig = "{rig}"}}]'
    out = tmp_path / "out"
    code, stdout, stderr = handkit(*command(init, out, "--set", views, "--rows", "before,all", "--seeds", 2))
    assert code == 0, stderr
    assert f"held-out: 1 of 4 pairs, {left} and {right}" in stdout
    assert "held-out, by epipolar_gap_px: " in stdout
    assert [path.parent for path in out.rglob("gathered")] == [out]
    found = figures_of(out, "all", 1)
    assert {"held-out.epipolar_gap_px", "held-out.silhouette_iou", "held-out.behind"} <= set(found)
    assert not [name for name in found if name.endswith("_mm")]


def test_a_row_that_fails_does_not_stop_the_others(
    init: Path, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn = training.learn_pairs

    def failing(out: Path, *arguments: Any, **options: Any) -> Any:
        if out.parent.name == "all":
            raise HandkitError("the loss is not finite", "lower learning.lr")
        return learn(out, *arguments, **options)

    monkeypatch.setattr(training, "learn_pairs", failing)
    arguments = command(init, tmp_path / "out", "--shards", shards, "--rows", "all,without-epipolar,without-edges")
    arguments += ["--weights", f"without-edges={shards / 'dataset.json'}"]
    code, stdout, stderr = handkit(*arguments, "--json")
    assert code == 1
    assert "error: all, seed 0: the loss is not finite" in stderr
    summary = json.loads(stdout)
    assert list(summary["failed"]) == ["all, seed 0", "without-edges, seed 0"]
    assert list(summary["rows"]["without-epipolar"]["seeds"]) == ["0"]
    assert json.loads((tmp_path / "out/ablation.json").read_text()) == summary


def test_weights_that_are_given_are_measured(table: Path, init: Path, shards: Path, tmp_path: Path) -> None:
    given = table / "all" / "seed{seed}" / "binocular.safetensors"
    code, stdout, stderr = handkit(
        *command(init, tmp_path, "--shards", shards, "--rows", "all", "--weights", f"all={given}", "--json")
    )
    assert code == 0, stderr
    found, trained = json.loads(stdout)["rows"]["all"]["seeds"]["0"], figures_of(table, "all")
    assert found == {name: value for name, value in trained.items() if name in found}
    assert "seconds" not in found


def test_an_interrupted_table_exits_130_and_goes_on(
    init: Path, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn = training.learn_pairs

    def stopped(*arguments: Any, **options: Any) -> Any:
        done = learn(*arguments, **options)
        return dataclasses.replace(done, run=dataclasses.replace(done.run, step=1))

    arguments = command(init, tmp_path, "--shards", shards, "--rows", "before,all")
    with monkeypatch.context() as patch:
        patch.setattr(training, "learn_pairs", stopped)
        code, stdout, _ = handkit(*arguments)
    assert code == 130
    assert "interrupted: the same command again goes on" in stdout
    code, stdout, _ = handkit(*arguments, "--json")
    assert (code, list(json.loads(stdout)["rows"]["all"]["seeds"])) == (0, ["0"])


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--rows", "without-edge"], 1, "did you mean without-edges?"),
        (["--set", "learning.step=1"], 1, "did you mean learning.steps?"),
        (["--shards", "nowhere"], 1, "nowhere"),
        (["--data", "stb"], 2, "NAME=DIR"),
        (["--data", "freihand=FreiHAND"], 1, "there are no pairs in a data set 'freihand'"),
        (["--data", "stb=STB", "--shards", "nowhere"], 1, "pairs of dataset and of shards at once"),
        (["--weights", "all"], 2, "NAME=VALUE"),
        (["--recipe", "binocular-small"], 1, "binocular-small"),
        (["--set", "data.pairs=3"], 1, "of which 2 are learned from, 4 at a time"),
        (["--set", "loss.edges=0"], 1, "without-edges would learn as all terms do"),
        (["--set", "data.masks=off"], 1, "without-silhouette, silhouette-alone would learn as all terms do, or from"),
        (["--set", "loss.silhouette=0", "--rows", "silhouette-alone"], 1, "silhouette-alone: "),
        (["--set", "loss.silhouette=0", "--rows", "before,all,without-silhouette"], 1, "--rows before,all"),
    ],
)
def test_what_is_wrong_is_told_before_any_work(
    init: Path, tmp_path: Path, arguments: list[str], code: int, said: str
) -> None:
    words = ["selfsup", "binocular-table", "--init", init, "--out", tmp_path / "out", "--device", "cpu"]
    usual = [] if "--recipe" in arguments else ["--recipe", "binocular-ablation-small"]
    found, _, stderr = handkit(*words, *usual, *arguments)
    assert found == code
    assert said in " ".join(stderr.replace("│", " ").split())
    assert not (tmp_path / "out").exists()


def test_priors_of_other_kinds_are_refused(table: Path, shards: Path, tmp_path: Path) -> None:
    moved = table / "all/seed0/binocular.safetensors"
    for path, said in ((moved, "is of binocular, no hand prior"), (tmp_path / "none", "does not exist")):
        code, _, stderr = handkit(*command(path, tmp_path / "out", "--shards", shards))
        assert code == 1
        assert said in stderr
        assert not (tmp_path / "out").exists()
