"""`handkit selfsup binocular` from the command line, on a few pairs and an untrained prior."""

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import handkit.runs.binocular_sources as sources
from handkit.data.stb import SPLITS
from handkit.errors import HandkitError
from handkit.methods.binocular_recipe import BinocularRecipe
from handkit.nets.lixel import without_depth
from handkit.nets.lixel_system import load_lixel
from handkit.runs.binocular_previews import PairPreviews
from handkit.runs.binocular_sources import JoinedPairs, find_source
from tests.command import handkit
from tests.data.trees import write_stb
from tests.demo.two_views import BESIDE, make_scene, write_pictures, write_rig
from tests.gather.pair_making import Gatherer
from tests.methods.binocular_pairs import make_shards, write_prior

PAIRS = 8
TINY = [
    *("--device", "cpu", "--recipe", "binocular-small", "--set", "train.validate_every=2"),
    *("--set", "train.save_every=2", "--set", "train.log_every=1", "--set", "learning.batch=2"),
    *("--set", "data.held_out=0.25", "--set", "forms.appearance_px=32", "--set", "forms.silhouette_px=32"),
]
TRUTH = {"mpvpe_mm", "mpjpe_mm", "pa_mpvpe_mm", "depth_mm"}


def steps(count: int) -> list[str]:
    return ["--set", f"learning.steps={count}"]


def selfsup(init: Path, out: Path, *words: object) -> tuple[int, str, str]:
    return handkit("selfsup", "binocular", "--init", init, "--out", out, *TINY, *words)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("pairs") / "stereo", PAIRS)


@pytest.fixture(scope="module")
def init(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prior(tmp_path_factory.mktemp("prior") / "hand-prior.safetensors")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, init: Path, shards: Path) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("run")
    code, stdout, stderr = selfsup(init, out, "--shards", shards, *steps(4), "--json")
    assert code == 0, stderr
    return out, json.loads(stdout)


def test_a_run_says_what_was_before_and_after(trained: tuple[Path, dict[str, Any]], init: Path) -> None:
    out, summary = trained
    assert (summary["steps"], summary["of"], summary["dry_run"]) == (4, 4, False)
    assert (summary["data"]["learned_from"], summary["data"]["held_out"], summary["data"]["chosen_by"]) == (6, 2, 2)
    before, after = summary["before"], summary["after"]
    assert set(before) == set(after) == TRUTH | {"unlabelled_loss", "epipolar_gap_px", "silhouette_iou", "samples"}
    assert all(np.isfinite(value) for figures in (before, after) for value in figures.values())
    assert after["unlabelled_loss"] != before["unlabelled_loss"]
    network, info = load_lixel(out / "binocular.safetensors")
    assert (info.method, info.step, network.describe()["depth"]) == ("binocular", summary["best_step"], None)
    known = {name: info.data[name] for name in ("hand", "size", "box_scale", "centre")}
    assert known == {"hand": "open", "size": 64, "box_scale": 1.5, "centre": "box"}
    assert len(next(iter(info.data["prior"].values()))) == 64
    assert info.data["prior_data"]["size"] == 64
    start = without_depth(load_lixel(init)[0]).state_dict()
    assert any(not torch.equal(start[name], value) for name, value in network.state_dict().items())
    assert sorted(path.name for path in (out / "previews").iterdir()) == [f"step_{n:06d}.jpg" for n in (0, 2, 4)]


def test_the_report_compares_the_prior_with_what_was_learned(
    trained: tuple[Path, dict[str, Any]], init: Path, shards: Path
) -> None:
    out, summary = trained
    code, stdout, stderr = selfsup(init, out, "--shards", shards, *steps(4))
    assert code == 0, stderr
    for words in (
        "before: the prior",
        "after",
        "MPVPE, mm",
        "gap, px of the crop",
        "6 of 8 pairs",
        "next: handkit demo",
    ):
        assert words in stdout
    assert f"{summary['after']['mpvpe_mm']:.3g}" in stdout


def test_a_run_goes_on_as_if_it_had_not_been_stopped(
    trained: tuple[Path, dict[str, Any]], init: Path, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(PairPreviews, "__call__", lambda _, step: step == 2 and os.kill(os.getpid(), signal.SIGINT))
        code, stdout, _ = selfsup(init, tmp_path, "--shards", shards, *steps(4), "--json")
        assert code == 130
        assert json.loads(stdout)["steps"] == 3  # the one at hand is finished
    code, stdout, stderr = selfsup(init, tmp_path, "--shards", shards, *steps(4), "--json")
    assert code == 0, stderr
    through, summary = trained
    again = json.loads(stdout)
    assert (again["before"], again["after"]) == (summary["before"], summary["after"])
    stopped, whole = (load_lixel(folder / "binocular.safetensors")[0] for folder in (tmp_path, through))
    for name, value in whole.state_dict().items():
        assert torch.equal(stopped.state_dict()[name], value), name


def test_a_longer_run_is_another_one(trained: tuple[Path, dict[str, Any]], init: Path, shards: Path) -> None:
    code, _, stderr = selfsup(init, trained[0], "--shards", shards, *steps(6), "--set", "train.schedule=constant")
    assert code == 1
    assert "holds a run of another recipe" in stderr


def test_pairs_are_made_where_none_are_given(init: Path, tmp_path: Path) -> None:
    words = ["--set", "data.pairs=4", "--set", "data.masks=off", *steps(1)]
    code, stdout, stderr = selfsup(init.parent, tmp_path, *words, "--dry-run", "--json")
    assert code == 0, stderr
    summary = json.loads(stdout)
    assert (summary["planned_steps"], summary["data"]["pairs"], summary["dry_run"]) == (1, 4, True)
    assert not (tmp_path / "pairs").exists()
    code, stdout, stderr = selfsup(init.parent, tmp_path, *words, "--json")
    assert code == 0, stderr
    summary = json.loads(stdout)
    assert summary["data"]["learned_from"] == 3
    assert (tmp_path / "pairs" / "dataset.json").is_file()
    assert "silhouette_iou" not in summary["after"]


def test_epochs_of_the_published_recipe(init: Path, tmp_path: Path) -> None:
    code, stdout, stderr = handkit("selfsup", "binocular", "--init", init, "--out", tmp_path, "--dry-run")
    assert code == 0, stderr
    assert f"{13 * 3375} steps of 4 pairs" in stdout
    assert "13500 of 15000 pairs, to be made in" in stdout


def test_stb_is_measured_by_its_joints(init: Path, tmp_path: Path) -> None:
    root = write_stb(tmp_path / "stb", frames=1, sequences=SPLITS["train"])
    for path in root.glob("*/BB_left_0.png"):
        shutil.copyfile(path, path.with_name("BB_right_0.png"))
    words = ["--data", f"stb={root}", *steps(1), "--json"]
    code, stdout, stderr = selfsup(init, tmp_path / "run", *words, "--dry-run")
    assert code == 0, stderr
    assert json.loads(stdout)["data"] == {
        "source": f"stb train of {root}",
        "pairs": 10,
        "learned_from": 8,
        "held_out": 2,
        "chosen_by": 2,
        "epoch": 8,
        "centre": "middle",
        "masks": "grabcut",
    }
    code, stdout, stderr = selfsup(init, tmp_path / "run", *words)
    assert code == 0, stderr
    assert TRUTH & set(json.loads(stdout)["after"]) == {"mpjpe_mm", "depth_mm"}
    assert load_lixel(tmp_path / "run" / "binocular.safetensors")[1].data["centre"] == "middle"


@pytest.fixture
def own_views(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The options of two folders of four pictures in which a known hand is found, but in one of the left ones."""
    left, right = write_pictures(tmp_path / "a", 4), write_pictures(tmp_path / "b", 4)
    rig = write_rig(tmp_path / "rig.json", BESIDE)
    gather = Gatherer(tmp_path, monkeypatch.setattr)
    gather(left, right, rig, make_scene(4), truth={"missing": [(0, 1)]})
    return ["--stereo", left, right, "--rig", rig]


def test_own_views_are_gathered_counted_and_learned_from(init: Path, tmp_path: Path, own_views: list[object]) -> None:
    code, stdout, stderr = selfsup(init, tmp_path / "run", *own_views, *steps(1), "--dry-run")
    assert code == 0, stderr
    assert "3 of both usable (1 no hand in the left view, 1 seen by one camera only)" in stdout
    assert "2 of 3 pairs" in stdout
    assert list((tmp_path / "run" / "gathered").iterdir())
    code, stdout, stderr = selfsup(init, tmp_path / "run", *own_views, *steps(1), "--json")
    assert code == 0, stderr
    summary = json.loads(stdout)
    assert summary["data"]["gathered"][0]["left_out"]["seen by one camera only"] == 1
    assert not TRUTH & set(summary["before"])
    assert summary["before"]["epipolar_gap_px"] > 0


def test_several_pairs_of_views_are_learned_from_together(
    init: Path, tmp_path: Path, own_views: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    twice = [*own_views[:3], *own_views]
    code, stdout, stderr = selfsup(init, tmp_path / "run", *twice, *steps(1), "--dry-run", "--json")
    assert code == 0, stderr
    found = json.loads(stdout)["data"]
    assert (found["pairs"], len(found["gathered"])) == (6, 2)
    shutil.rmtree(tmp_path / "a")
    code, _, stderr = selfsup(init, tmp_path / "run", *own_views, *steps(1), "--dry-run")
    assert code == 1
    assert "try: " in stderr


def test_sequences_of_different_views_stay_different() -> None:
    class Named(list[dict[str, Any]]):
        pass

    def pair(sequence: str) -> dict[str, Any]:
        return {"left": {"sequence": sequence}, "right": {"sequence": sequence}}

    joined = JoinedPairs([Named([pair("a/0"), pair("")]), Named([pair("a/0")])])  # type: ignore[list-item]
    assert [joined[i]["left"]["sequence"] for i in range(len(joined))] == ["0/a/0", "", "1/a/0"]
    with pytest.raises(IndexError):
        joined[3]


def test_hands_of_another_model_are_learned_from_but_not_measured(init: Path, shards: Path, tmp_path: Path) -> None:
    other = shutil.copytree(shards, tmp_path / "other")
    card = json.loads((other / "dataset.json").read_text())
    card["settings"]["hand_model"] = "mano"
    (other / "dataset.json").write_text(json.dumps(card))
    code, stdout, stderr = selfsup(init, tmp_path / "run", "--shards", other, *steps(1), "--json")
    assert code == 0, stderr
    assert "pairs are of the hand 'mano', the prior of 'open'" in stderr
    assert TRUTH & set(json.loads(stdout)["after"]) == {"mpjpe_mm", "depth_mm"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--set", "data.held_out=0.99"], "of which 0 are learned from"),
        (["--set", "data.held_out=0.01"], "of which 8 are learned from"),
        (["--set", "learning.batch=7"], "7 at a time"),
        (["--data", "stb=STB"], "pairs of dataset and of shards at once"),
        (["--set", "data.masks=unet"], "masks"),
        (["--set", "loss.prior_decay=0"], "prior_decay"),
        (["--set", "learning.drops=[10, 8]"], "the rate cannot fall after epochs 10, 8"),
    ],
)
def test_what_cannot_be_is_told(words: list[str], told: str, init: Path, shards: Path, tmp_path: Path) -> None:
    code, _, stderr = selfsup(init, tmp_path / "run", "--shards", shards, *steps(1), *words)
    assert code == 1
    assert told in stderr
    assert "try: " in stderr
    assert not (tmp_path / "run").exists()


def test_other_sources_are_refused(init: Path, shards: Path, tmp_path: Path) -> None:
    root = write_stb(tmp_path / "stb", frames=1, sequences=SPLITS["train"])

    def with_option(name: str, value: str) -> str:
        return f'data.dataset={{dataset = "stb", root = "{root}", options = {{{name} = "{value}"}}}}'

    for words, told in (
        (["--data", "freihand=FreiHAND"], "there are no pairs in a data set 'freihand'"),
        (["--data", f"stb={tmp_path / 'none'}"], "none"),
        (["--data", f"stb={root}"], "BB_right_0.png"),
        (["--set", with_option("camera", "SK")], "B2Counting_SK.mat"),
        (["--set", with_option("views", "left")], "option of stb's pairs"),
        (["--shards", tmp_path / "none"], "none"),
    ):
        code, _, stderr = selfsup(init, tmp_path / "run", *steps(1), *words)
        assert code == 1, words
        assert told in stderr
        assert "try: " in stderr
    card = shutil.copytree(shards, tmp_path / "sequences") / "dataset.json"
    card.write_text(json.dumps({**json.loads(card.read_text()), "kind": "seqhand"}))
    code, _, stderr = selfsup(init, tmp_path / "run", "--shards", card.parent)
    assert code == 1
    assert "seqhand" in stderr


def test_the_camera_of_stb_that_has_one_view_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from handkit.data.stb import Stb

    monkeypatch.setattr(Stb, "_joints", lambda *_: np.zeros((1, 21, 3)))
    (tmp_path / "labels").mkdir()
    dataset = {"dataset": "stb", "root": str(tmp_path), "options": {"camera": "SK"}}
    settings = BinocularRecipe.model_validate({"data": {"dataset": dataset}})
    with pytest.raises(HandkitError, match="the camera SK of STB has one view"):
        find_source(tmp_path / "run", settings, "open")


@pytest.mark.parametrize(
    ("shift", "told"), [([0.0, 0.0, 0.0], "0 mm apart"), ([0.0, 0.0, 0.1], "one camera of a pair stands before")]
)
def test_cameras_without_a_baseline_are_refused(
    shift: list[float], told: str, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = sources.StereoDataset

    class Degenerate(own):  # type: ignore[misc,valid-type]
        def __getitem__(self, index: int) -> Any:
            between = np.eye(3, 4, dtype=np.float32)
            between[:, 3] = shift
            return {**super().__getitem__(index), "right_from_left": between}

    monkeypatch.setattr(sources, "StereoDataset", Degenerate)
    settings = BinocularRecipe.model_validate({"data": {"shards": str(shards)}})
    with pytest.raises(HandkitError, match=told):
        find_source(tmp_path / "run", settings, "open")


def test_no_pairs_are_told(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources.StereoDataset, "__len__", lambda _: 0)
    settings = BinocularRecipe.model_validate({"data": {"shards": str(shards)}})
    with pytest.raises(HandkitError, match="there are no pairs in"):
        find_source(tmp_path / "run", settings, "open")


def test_weights_of_other_kinds_are_refused(shards: Path, tmp_path: Path) -> None:
    flat = write_prior(tmp_path / "binocular.safetensors", method="binocular", depth=None)
    for path, told in ((flat, "is of binocular, no hand prior"), (tmp_path / "none.safetensors", "does not exist")):
        code, _, stderr = selfsup(path, tmp_path / "run", "--shards", shards)
        assert code == 1
        assert told in stderr
        assert "handkit pretrain hand-prior --out DIR" in stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--stereo", "a", "b"], "--stereo without --rig"),
        (["--stereo", "a", "--rig", "r"], "names one view"),
        (["--rig", "r"], "--rig is of --stereo LEFT RIGHT"),
        (["--stereo", "a", "b", "--rig", "r", "stray"], "what is stray?"),
        (["--stereo", "a", "b", "--stereo", "c", "d", "--stereo", "e", "f", "--rig", "r", "--rig", "s"], "2 rigs of 3"),
        (["--data", "STB"], "is not NAME=DIR"),
    ],
)
def test_words_that_make_no_sense(words: list[str], told: str, tmp_path: Path) -> None:
    code, _, stderr = handkit("selfsup", "binocular", "--init", tmp_path / "x", *words)
    assert code == 2
    assert told in " ".join(stderr.replace("│", " ").split())


def test_views_go_with_their_rigs() -> None:
    from handkit.cli.selfsup_binocular import _views

    paths = [Path(name) for name in "abcd"]
    assert _views(paths[:2], paths[2:], [Path("r")]) == [
        {"left": "a", "right": "c", "rig": "r"},
        {"left": "b", "right": "d", "rig": "r"},
    ]
    assert [each["rig"] for each in _views(paths[:2], paths[2:], [Path("r"), Path("s")])] == ["r", "s"]
