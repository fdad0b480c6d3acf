"""`handkit selfsup s2hand --search-weights` on a few small hands, and the short trainings that it makes."""

import json
import logging
import re
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from handkit.errors import HandkitError
from handkit.hand.model import load_hand
from handkit.methods.s2hand_recipe import S2HandRecipe, term_weights
from handkit.recipe import load_recipe, recipe_toml
from handkit.runs.s2hand import new_network
from handkit.runs.s2hand_data import GatheredData, gather_data
from handkit.runs.s2hand_overfit import Overfit, Samples, restate_norm
from handkit.runs.s2hand_search import SearchOptions, search_weights, searched_terms
from handkit.runs.s2hand_search_result import SearchResult
from handkit.train import Place, seed_all
from handkit.train.place import launch
from handkit_cli import app
from tests.gather.making import points, write_openpose, write_stills

RUNNER = CliRunner()
OFF = [f"loss.factors.{term}=0" for term in ("pixel", "ssim", "shape", "limits", "scale")]
TINY = [
    *("network.size=64", "keypoints=off", "data.held_out=0.4", "search.samples=6", "search.batch=3"),
    *("search.epochs=1", "search.most_steps=1", *OFF),
]
WEIGHTS = {"location": 1.0, "orientation": 100.0}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generated frames in two sequences, with their truth."""
    out = tmp_path_factory.mktemp("shards")
    made = ("generate", "seqhand", "--sequences", "2", "--frames", "8", "--size", "64", "--workers", "1")
    assert handkit(*made, "--out", out, "--quiet")[0] == 0
    return out


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Twelve pictures without a truth, and the keypoints of their hands."""
    folder = tmp_path_factory.mktemp("photos")
    names = [f"{number:02d}" for number in range(12)]
    write_stills(folder / "photos", [f"{name}.png" for name in names])
    for name in names:
        write_openpose(folder / "keypoints" / f"{name}_keypoints.json", [points((50, 30))])
    return folder / "photos", folder / "keypoints"


def handkit(*arguments: object) -> tuple[int, str, str]:
    result = RUNNER.invoke(app, [str(argument) for argument in arguments])
    logging.getLogger("handkit").handlers.clear()  # they write to the runner's stderr, which is closed
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def sets(*changes: str) -> list[str]:
    return [word for change in (*TINY, *changes) for word in ("--set", change)]


def search(out: Path, data: Path, *changes: str, stage: str = "images", **options: Any) -> SearchResult:
    given = [*TINY, f'data.sources=["seqhand={data}"]', *changes]
    asked = SearchOptions(together=stage)
    return search_weights(out, asked, recipe="s2hand-small", changes=given, device="cpu", **options)


def settings_of(data: Path, *changes: str) -> S2HandRecipe:
    return load_recipe(S2HandRecipe, "s2hand-small", [*TINY, f'data.sources=["seqhand={data}"]', *changes])


def overfit_of(settings: S2HandRecipe, data: GatheredData) -> Overfit:
    bases, _, unit = searched_terms(settings, "images")
    seed_all(0)
    return Overfit(
        settings=settings,
        stage="images",
        hand=load_hand(settings.hand, "right"),
        landmarks=data.landmarks,
        start=new_network(settings),
        held_out=data.held_out(settings, 3, windows=False),
        fabric=launch("cpu", "32-true"),
        stopped=threading.Event(),
        bases=bases,
        unit=unit,
    )


@pytest.fixture(scope="module")
def gathered(tmp_path_factory: pytest.TempPathFactory, shards: Path) -> GatheredData:
    return gather_data(tmp_path_factory.mktemp("gathered"), settings_of(shards))


def test_the_whole_search_and_the_recipe_that_it_leaves(tmp_path: Path, shards: Path) -> None:
    arguments = ("selfsup", "s2hand", "--search-weights", "--recipe", "s2hand-small", "--data", f"seqhand={shards}")
    again = (*arguments, "--out", tmp_path, "--device", "cpu", *sets("search.candidates=[1, 2]"), "--json")
    code, stdout, stderr = handkit(*again)
    assert code == 0, stderr
    found = json.loads(stdout)
    # E_loc alone, E_ori thrice; two groups of two; the selected weights and four changes of them.
    assert found["terms"] == ["location", "orientation"]
    assert found["trials"]["made"] + found["trials"]["known"] == 4 + 4 + 5
    assert found["planned_trials"]["refinement"] == {"least": 4, "most": 4}
    assert found["performance"] == "joints_3d_pa_mm"
    assert {row["factor"] for row in found["sensitivity"]} == {0.5, 1.0, 2.0}
    lines = (tmp_path / "search" / "trials.jsonl").read_text().splitlines()
    assert len(lines) == found["trials"]["made"]
    first, last = found["initial"][0], found["refinement"][-1]
    assert min(first["trials"], key=lambda trial: trial["performance"])["weight"] == first["kept"]
    assert found["weights"]["orientation"] == last["kept"]["orientation"]

    best = load_recipe(S2HandRecipe, found["best"])
    weights = term_weights(best.loss, 1)
    assert weights["orientation"] / term_weights(settings_of(shards).loss, 1)["location"] == pytest.approx(
        found["weights"]["orientation"], rel=1e-5
    )
    assert weights["pixel"] == 0

    repeated = json.loads(handkit(*again)[1])
    assert (repeated["trials"]["made"], repeated["trials"]["known"]) == (0, 13)
    assert (repeated["initial"], repeated["weights"]) == (found["initial"], found["weights"])
    code, stdout, _ = handkit(*again[:-1])
    assert code == 0
    for said in (
        "weight of E_ori",
        "refinement",
        "sensitivity, held out",
        "--set loss.factors.orientation=",
        "best.toml",
    ):
        assert said in stdout
    assert "| weight of E_ori |" in (tmp_path / "search" / "tables.md").read_text()


def test_a_search_that_was_stopped_goes_on(tmp_path: Path, shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = search(tmp_path / "whole", shards, 'search.phases=["initial"]')
    train, calls = Overfit.train, []

    def until_the_third(self: Overfit, *given: Any) -> Any:
        calls.append(given)
        if len(calls) == 3:
            self.stopped.set()  # as the first SIGINT does
        return train(self, *given)

    monkeypatch.setattr(Overfit, "train", until_the_third)
    parts = search(tmp_path / "parts", shards, 'search.phases=["initial"]')
    assert (parts.interrupted, parts.exit_code, parts.best) == (True, 130, None)
    assert len((tmp_path / "parts/search/trials.jsonl").read_text().splitlines()) == 2
    with (tmp_path / "parts/search/trials.jsonl").open("a") as file:
        file.write('{"key": "half a li')

    rest = search(tmp_path / "parts", shards, 'search.phases=["initial"]')
    assert rest.exit_code == 0
    assert rest.trials is not None
    assert (rest.trials.known, rest.trials.made) == (2, 2)
    for one, other in zip(whole.walks, rest.walks, strict=True):
        assert one.trials == other.trials


def test_what_decides_a_trial_makes_another_of_it(tmp_path: Path, shards: Path) -> None:
    phases = 'search.phases=["initial"]'

    def made(*changes: str, **options: Any) -> int:
        result = search(tmp_path, shards, phases, *changes, **options)
        assert result.trials is not None
        return result.trials.made

    assert made() == 4
    assert made("train.log_every=7") == 0
    assert made("search.lr=0.002") == 4
    assert made("train.seed=1") == 4
    assert made(force=True) == 4


def test_without_a_truth_detections_are_compared_with(tmp_path: Path, photos: tuple[Path, Path]) -> None:
    pictures, keypoints = photos
    code, stdout, stderr = handkit(
        *("selfsup", "s2hand", "--search-weights", "--recipe", "s2hand-small", "--data", pictures),
        *("--keypoints", keypoints, "--out", tmp_path, "--device", "cpu", *sets('search.phases=["initial"]')),
    )
    assert code == 0, stderr
    assert "compared by 2D, px of 224, from the detected keypoints" in stdout
    assert "PA-MPJPE" not in stdout


def test_windows_of_video_are_searched(tmp_path: Path, shards: Path) -> None:
    changes = ("data.interval=1", "data.held_out=0.5", "loss.factors.orientation=0")
    result = search(tmp_path, shards, *changes, 'search.phases=["initial"]', stage="video")
    assert result.terms == ("location", "quaternion")
    (walk,) = result.walks
    assert all(found.losses["quaternion"] > 0 for found in walk.trials.values())


def test_a_dry_run_counts(tmp_path: Path, shards: Path) -> None:
    code, stdout, stderr = handkit(
        *("selfsup", "s2hand", "--search-weights", "--dry-run", "--recipe", "s2hand-small", "--out", tmp_path),
        *("--data", f"seqhand={shards}", "--set", "data.held_out=0.4"),
    )
    assert code == 0, stderr
    assert "initial: 28 to 82 trials" in stdout
    assert "refinement: 105 trials" in stdout
    assert "sensitivity: 21 trials" in stdout
    assert not (tmp_path / "search").exists()


@pytest.mark.parametrize(
    ("arguments", "expected", "said"),
    [
        (["--set", "search.samples=90"], 1, "the search takes 90 hands, and there are"),
        (["--set", "loss.weights.w_geo=0"], 1, "weights count from that of E_loc, which is off"),
        (["--set", 'search.phases=["inital"]'], 1, "search.phases"),
        (["--set", "search.candidates=[]"], 1, "search.candidates"),
        (["--stage", "hand"], 2, "leave --stage out"),
        (["--init", "nowhere.safetensors"], 1, "nowhere.safetensors"),
        (["--backbone-weights", "nowhere.pth"], 1, "nowhere.pth"),
    ],
)
def test_what_cannot_be_searched_is_told(
    tmp_path: Path, shards: Path, arguments: list[str], expected: int, said: str
) -> None:
    code, _, stderr = handkit(
        *("selfsup", "s2hand", "--search-weights", "--recipe", "s2hand-small", "--data", f"seqhand={shards}"),
        *("--out", tmp_path, "--device", "cpu", *sets(), *arguments),
    )
    assert code == expected
    assert said in re.sub(r"[\s│]+", " ", stderr)


def test_a_trial_depends_on_no_trial_before(shards: Path, gathered: GatheredData) -> None:
    settings = settings_of(shards, "network.drop_path=0.2")
    samples = Samples(gathered, settings, count=6, windows=False)
    overfit = overfit_of(settings, gathered)

    def found(weights: dict[str, float]) -> Any:
        return overfit.measure(overfit.train(weights, samples), samples, on_held_out=False)

    first = found(WEIGHTS)
    other = found({**WEIGHTS, "orientation": 1000.0})
    assert found(WEIGHTS) == first
    assert other.losses != first.losses


def test_more_epochs_fit_the_samples_better(shards: Path, gathered: GatheredData) -> None:
    found = []
    for epochs in (1, 15):
        settings = settings_of(shards, f"search.epochs={epochs}")
        samples = Samples(gathered, settings, count=6, windows=False)
        overfit = overfit_of(settings, gathered)
        network = overfit.train(WEIGHTS, samples)
        found.append(overfit.measure(network, samples, on_held_out=False))
    assert found[1].losses["location"] < 0.5 * found[0].losses["location"]
    assert set(found[0].metrics) >= {"joints_3d_pa_mm", "auc_j", "projected_px"}


def test_every_epoch_has_every_sample_once(shards: Path, gathered: GatheredData) -> None:
    samples = Samples(gathered, settings_of(shards, "search.batch=4"), count=6, windows=False)
    batches = samples.batches(0, Place())
    epochs = [[next(batches)["key"] for _ in range(samples.parts)] for _ in range(2)]
    assert [[len(part) for part in epoch] for epoch in epochs] == [[3, 3], [3, 3]]
    assert epochs[0] != epochs[1]
    assert {*epochs[0][0], *epochs[0][1]} == {*epochs[1][0], *epochs[1][1]}
    assert len({*epochs[0][0], *epochs[0][1]}) == 6


def test_statistics_are_those_of_all_images() -> None:
    network = torch.nn.Sequential(torch.nn.BatchNorm2d(3), torch.nn.Dropout(0.5))
    network(100 + torch.rand(4, 3, 5, 5))
    images = torch.rand(8, 3, 5, 5)
    restate_norm(network, images.split(4))
    assert not any(module.training for module in network.modules())
    said = network(images)
    torch.testing.assert_close(said.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(said.std((0, 2, 3)), torch.ones(3), atol=0.02, rtol=0)
    assert network[0].momentum == 0.1


def test_weights_and_factors_are_two_ways_to_say_the_same(shards: Path, gathered: GatheredData) -> None:
    settings = load_recipe(S2HandRecipe, "s2hand")
    bases, weights, unit = searched_terms(settings, "images")
    assert weights["orientation"] == 100  # the supplement's phi_ori, and the published w_ori
    assert weights["limits"] == 100  # and its phi_J
    overfit = overfit_of(settings_of(shards), gathered)
    overfit.settings, overfit.bases, overfit.unit = settings, bases, unit
    changed = {term: 3 * weight for term, weight in weights.items()}
    loss = settings.loss.model_copy(update={"factors": overfit.factors(changed)})
    effective = term_weights(loss, 1)
    for term, weight in changed.items():
        assert effective[term] / unit == pytest.approx(weight, rel=1e-5)
    assert all(value == 0 for term, value in effective.items() if term not in changed)


def test_terms_that_the_recipe_has_not_are_left_out() -> None:
    released = load_recipe(S2HandRecipe, "s2hand-released")
    assert not {"ssim", "shape"} & set(searched_terms(released, "images")[0])
    blind = load_recipe(S2HandRecipe, "s2hand", ["loss.factors.pixel=0", "loss.factors.ssim=0", "keypoints=off"])
    assert tuple(searched_terms(blind, "video")[0]) == (
        "location",
        "orientation",
        "shape",
        "scale",
        "limits",
        "quaternion",
    )


@pytest.mark.parametrize("name", ["s2hand", "s2hand-small", "s2hand-released"])
def test_a_recipe_as_toml_is_the_same_recipe(tmp_path: Path, name: str) -> None:
    recipe = load_recipe(S2HandRecipe, name, ["keypoints=off", 'data.sources=["a \\"b\\" ü"]', "search.lr=1e-5"])
    (tmp_path / "recipe.toml").write_text(recipe_toml(recipe), encoding="utf-8")
    assert load_recipe(S2HandRecipe, tmp_path / "recipe.toml") == recipe


def test_too_few_hands_are_an_error(shards: Path, gathered: GatheredData) -> None:
    settings = settings_of(shards, "data.interval=1")
    assert len(Samples(gathered, settings, count=3, windows=True).whole["image"]) == 1
    with pytest.raises(HandkitError, match="the search takes 30 windows of 3 frames, and there are"):
        Samples(gathered, settings, count=90, windows=True)
