"""`generate stereo` end to end: the same files whichever way they are made, read back as they were drawn."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from typer.testing import CliRunner

from handkit.data.stereo import StereoDataset, StereoStream
from handkit.errors import HandkitError
from handkit.hand import load_hand
from handkit.images import read_image, write_image
from handkit.labels import HAND
from handkit.recipe import load_recipe
from handkit.refine.rig import load_rig
from handkit.synth.card import write_unfinished
from handkit.synth.generate import measure_run, run_generate
from handkit.synth.stereo import StereoMaker, StereoRecipe
from handkit.synth.stereo_job import StereoJob
from handkit_cli import app

SMALL = ("width=160", "height=90", "supersample=1", "image_format=png")
RUNNER = CliRunner()


def job(out: Path, *changes: str, **options: Any) -> StereoJob:
    recipe = load_recipe(StereoRecipe, "stereo", [*SMALL, *changes])
    return StereoJob(out=out, recipe=recipe, **{"sequences": 5, "shard_size": 2, **options})


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five pairs in three shards, made in one go."""
    out = tmp_path_factory.mktemp("whole")
    assert run_generate(job(out), workers=1).exit_code == 0
    return out


def test_two_workers_and_a_resumed_run_give_the_same_files(whole: Path, tmp_path: Path) -> None:
    run_generate(job(tmp_path, sequences=3), workers=1)
    result = run_generate(job(tmp_path), workers=2)
    assert (result.summary["shards_there_before"], result.summary["shards_made"]) == (1, 2)
    assert files(tmp_path) == files(whole)


def test_pairs_read_back_as_they_were_drawn(whole: Path) -> None:
    maker = StereoMaker(load_recipe(StereoRecipe, "stereo", SMALL), seed=0, split="train", hand=load_hand("open"))
    read = StereoDataset(whole)
    assert len(read) == 5
    for index, (found, streamed) in enumerate(zip(read, StereoStream(whole), strict=True)):
        pair = maker.annotate(index)
        pictures, masks = maker.render(pair)
        for view, number in (("left", 0), ("right", 1)):
            sample = found[view]
            np.testing.assert_array_equal(sample["image"], pictures[number].transpose(2, 0, 1))
            np.testing.assert_array_equal(sample["mask"], masks[number] == HAND)
            np.testing.assert_array_equal(sample["joints_2d"], pair.annotations()[f"joints_2d_{view}"])
            assert sample.keys() == streamed[view].keys()
        np.testing.assert_array_equal(found["left"]["vertices"], pair.vertices)
        np.testing.assert_array_equal(found["left"]["betas"], pair.beta)
        np.testing.assert_array_equal(found["left"]["hand_pose"], pair.hand_pose)


def test_the_folder_says_what_it_holds(whole: Path) -> None:
    card = orjson.loads((whole / "dataset.json").read_bytes())
    assert (card["kind"], card["sequences"], card["frames"], card["finished"]) == ("stereo", 5, 10, True)
    assert all(sum(counts.values()) == 5 for counts in card["statistics"].values())
    assert set(card["statistics"]["pairs_by_view"]) <= {"palm", "back"}


def test_another_kind_or_recipe_is_refused(whole: Path) -> None:
    with pytest.raises(HandkitError, match=r"another set: recipe\.baseline_m 0\.12, not 0\.063"):
        run_generate(job(whole, "baseline_m=0.063"))
    from handkit.data.seqhand import SeqHandDataset

    with pytest.raises(HandkitError, match="holds stereo data, not seqhand"):
        SeqHandDataset(whole)


def test_folders_made_before_the_recipe_grew_go_on(whole: Path) -> None:
    card = orjson.loads((whole / "dataset.json").read_bytes())
    assert not {"skin", "background", "same_hand"} & card["settings"]["recipe"].keys()
    assert card["fingerprint"] == job(whole).fingerprint(job(whole).make())
    with pytest.raises(
        HandkitError, match=r"another set: recipe\.same_hand 1, not 2; recipe\.skin \[1,10\], not \[2,9\]"
    ):
        run_generate(job(whole, "same_hand=2", "skin=[2,9]"))
    grown = job(whole, "same_hand=2", "background=patterns").settings()["recipe"]
    assert (grown["same_hand"], grown["background"]) == (2, "patterns")
    assert "skin" not in grown


def test_pairs_of_one_hand_say_so(tmp_path: Path) -> None:
    run_generate(job(tmp_path, "same_hand=3"), workers=1)
    for pairs in (StereoDataset(tmp_path), StereoStream(tmp_path)):
        places = [(pair[view]["sequence"], int(pair[view]["frame"])) for pair in pairs for view in ("left", "right")]
        wanted = [("000000", 0), ("000000", 1), ("000000", 2), ("000003", 0), ("000003", 1)]
        assert places == [place for place in wanted for _ in range(2)]


def test_the_rig_beside_the_shards_is_the_pairs(whole: Path, tmp_path: Path) -> None:
    rig = load_rig(whole / "rig.json", 2)
    left, right = rig.views
    assert (left.name, right.name, rig.unit_m, left.size) == ("left", "right", 1.0, (160, 90))
    for pair in StereoDataset(whole):
        for view in rig.views:
            np.testing.assert_allclose(view.K, pair[view.name]["K"], rtol=1e-6)
        Rt = np.column_stack([right.R @ left.R.T, right.T - right.R @ left.R.T @ left.T])
        np.testing.assert_allclose(Rt, pair["right_from_left"], atol=1e-6)
    # a folder that takes other pairs has no rig until they are there
    run_generate(job(tmp_path, sequences=2), workers=1)
    write_unfinished(job(tmp_path, "baseline_m=0.1"), "other")
    assert not (tmp_path / "rig.json").exists()
    run_generate(job(tmp_path, "baseline_m=0.1", sequences=2), workers=1, force=True)
    assert load_rig(tmp_path / "rig.json", 2).views[1].T[0] == -0.1


def test_dry_run_foresees_the_size(whole: Path) -> None:
    size = sum(path.stat().st_size for path in whole.glob("*.tar"))
    assert measure_run(job(whole), workers=1)["bytes"] == pytest.approx(size, rel=0.15)


def test_the_command(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    write_image(tmp_path / "pictures" / "a.png", rng.integers(0, 255, (120, 160, 3), np.uint8))
    changes = [part for change in SMALL for part in ("--set", change)]
    options = ["--pairs", "2", "--backgrounds", str(tmp_path / "pictures"), "--preview", "--json", *changes]
    result = RUNNER.invoke(app, ["generate", "stereo", "--out", str(tmp_path / "out"), *options])
    assert result.exit_code == 0, result.stderr
    summary = json.loads(result.stdout)
    assert (summary["sequences"], summary["frames"], summary["unit"]) == (2, 4, "pair")
    assert read_image(tmp_path / "out" / "preview.png").shape == (2 * 90, 4 * 160, 3)
    assert len(StereoDataset(tmp_path / "out")) == 2


def test_the_command_makes_the_published_number(tmp_path: Path) -> None:
    changes = [part for change in SMALL for part in ("--set", change)]
    result = RUNNER.invoke(app, ["generate", "stereo", "--out", str(tmp_path / "out"), "--dry-run", "--json", *changes])
    plan = json.loads(result.stdout)
    assert (plan["sequences"], plan["frames"], plan["seed"]) == (15082, 30164, 0)
    assert not (tmp_path / "out").exists()
