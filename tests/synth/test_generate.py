"""`generate seqhand` end to end: the same files whichever way they are made, and what a user is told."""

import errno
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import webdataset
from typer.testing import CliRunner

from handkit.errors import HandkitError
from handkit.images import write_image
from handkit.recipe import load_recipe
from handkit.synth import generate
from handkit.synth.card import read_dataset
from handkit.synth.digest import combined_digest, sequence_digest
from handkit.synth.generate import run_generate
from handkit.synth.job import SequenceJob
from handkit.synth.poses import load_pose_bank
from handkit.synth.recipe import SequenceRecipe
from handkit.synth.sequence import HandSequence, SequenceMaker
from handkit.synth.workers import make_shards
from handkit_cli import app

ROOT = Path(__file__).resolve().parents[2]
RUNNER = CliRunner()
SMALL = ["frames=3", "size=96"]


@pytest.fixture(scope="module")
def poses(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small bank: quick to search."""
    path = tmp_path_factory.mktemp("poses") / "few.npy"
    np.save(path, load_pose_bank("builtin", size=2000).joints[:500])
    return path


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDKIT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="module")
def whole(poses: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven sequences in three shards, made in one go."""
    out = tmp_path_factory.mktemp("whole")
    assert run_generate(job(out, poses), workers=1).exit_code == 0
    return out


def job(out: Path, poses: Path, *changes: str, **options: Any) -> SequenceJob:
    recipe = load_recipe(SequenceRecipe, "seqhand", [*SMALL, *changes])
    return SequenceJob(out=out, recipe=recipe, poses=str(poses), **{"sequences": 7, "shard_size": 3, **options})


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def run_handkit(*arguments: object) -> tuple[int, str, str]:
    result = RUNNER.invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def command(out: Path, poses: Path) -> list[str]:
    changes = [part for change in SMALL for part in ("--set", change)]
    wanted = ["--sequences", "7", "--shard-size", "3", "--poses", str(poses), "--out", str(out), *changes]
    return [sys.executable, "-c", "from handkit_cli import app; app()", "generate", "seqhand", *wanted]


def test_two_workers_give_the_same_files(whole: Path, poses: Path, tmp_path: Path) -> None:
    assert run_generate(job(tmp_path, poses), workers=2).summary["shards_made"] == 3
    assert files(tmp_path) == files(whole)


def test_interrupted_runs_are_continued(
    whole: Path, poses: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def stopping(*arguments: Any, **options: Any) -> Any:
        for note in original(*arguments, **options):
            made.append(note)
            yield note
            raise KeyboardInterrupt

    original = generate.make_shards
    monkeypatch.setattr(generate, "make_shards", stopping)
    stopped = run_generate(job(tmp_path, poses), workers=1)
    assert (stopped.exit_code, stopped.summary["sequences"]) == (130, 3)
    assert set(files(tmp_path)) == {"seqhand-train-000000.tar", "unfinished.json"}
    assert read_dataset(tmp_path)["settings"]["seed"] == 0
    monkeypatch.setattr(generate, "make_shards", original)
    result = run_generate(job(tmp_path, poses), workers=1)
    assert (result.summary["shards_there_before"], result.summary["shards_made"]) == (1, 2)
    assert files(tmp_path) == files(whole)
    assert run_generate(job(tmp_path, poses)).summary["shards_made"] == 0


class _Dying(SequenceJob):
    def make(self, *, show_progress: bool = False) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_a_worker_that_is_killed_is_told(tmp_path: Path) -> None:
    dying = _Dying(out=tmp_path, recipe=load_recipe(SequenceRecipe, "seqhand", SMALL), sequences=4)
    with pytest.raises(HandkitError, match="stopped from outside"):
        list(make_shards(dying, None, [0, 1, 2, 3], fingerprint="", workers=2, on_sequence=lambda: None))


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_stopped_processes_leave_what_can_be_continued(
    stop: signal.Signals, whole: Path, poses: Path, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [*command(tmp_path, poses), "--workers", "2"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    deadline = time.monotonic() + 200
    while not list(tmp_path.glob("*.tar")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(stop)
    stdout, _ = process.communicate(timeout=60)
    if stop is signal.SIGINT and not (tmp_path / "dataset.json").exists():
        assert process.returncode == 130
        assert "interrupted: the same command again makes the" in stdout
    for shard in tmp_path.glob("*.tar"):
        with tarfile.open(shard) as archive:
            assert len(archive.getmembers()) == (9 if shard.name.endswith("2.tar") else 27)
    run_generate(job(tmp_path, poses), workers=1)
    assert files(tmp_path) == files(whole)
    assert not list((tmp_path / ".shards").glob(".*"))


def test_more_sequences_are_added_and_fewer_refused(whole: Path, poses: Path, tmp_path: Path) -> None:
    run_generate(job(tmp_path, poses, sequences=4), workers=1)
    with pytest.raises(HandkitError, match="4 sequences, more than --sequences 3"):
        run_generate(job(tmp_path, poses, sequences=3))
    result = run_generate(job(tmp_path, poses), workers=1)
    assert result.summary["shards_there_before"] == 1
    assert files(tmp_path) == files(whole)


# webdataset leaves its files to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_shards_hold_reads_back_as_it_was_drawn(whole: Path, poses: Path) -> None:
    maker = job(whole, poses).make()
    reader = webdataset.WebDataset(sorted(map(str, whole.glob("*.tar"))), shardshuffle=False, empty_check=False)
    samples = list(reader.decode("rgb8"))
    assert [sample["__key__"] for sample in samples] == [f"{i:06d}_{f:03d}" for i in range(7) for f in range(3)]
    digests = []
    for sequence in maker.annotate_many(range(7)):
        rows = samples[3 * sequence.index : 3 * sequence.index + 3]
        recorded = {name: np.stack([row["hand.npz"][name] for row in rows]) for name in sequence.annotations()}
        for name, values in sequence.annotations().items():
            assert np.array_equal(recorded[name], values), name
            assert recorded[name].dtype == values.dtype
        digests.append(sequence_digest(recorded))
    dataset = read_dataset(whole)
    assert dataset["annotations"] == combined_digest(digests)
    assert dataset["frames"] == 21
    assert dataset["finished"]
    for name, counts in dataset["statistics"].items():
        expected = {"frames": 21, "steps": 14, "sequences": 7}[name.split("_")[0]]
        assert sum(counts.values()) == expected, name


def test_another_recipe_is_refused_and_replaced_on_demand(whole: Path, poses: Path, tmp_path: Path) -> None:
    run_generate(job(tmp_path, poses, "size=64", sequences=3), workers=1)
    before = files(tmp_path)
    with pytest.raises(HandkitError, match=r"another set: recipe\.size 64, not 96$") as caught:
        run_generate(job(tmp_path, poses))
    assert "--force" in caught.value.fix
    assert files(tmp_path) == before
    with pytest.raises(HandkitError, match='split "train", not "val"'):
        run_generate(job(tmp_path, poses, "size=64", split="val"))
    run_generate(job(tmp_path, poses), workers=1, force=True)
    assert files(tmp_path) == files(whole)


def test_a_folder_takes_one_run_at_a_time(poses: Path, tmp_path: Path) -> None:
    with generate._alone_in(tmp_path), pytest.raises(HandkitError, match="another run is writing"):
        run_generate(job(tmp_path, poses))
    assert files(tmp_path) == {}


def test_a_full_disk_keeps_what_is_finished(
    whole: Path, poses: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def filling(self: SequenceJob, maker: SequenceMaker, item: HandSequence) -> Iterator[tuple[str, bytes]]:
        yield from encode(self, maker, item)
        if item.index == 4:
            raise OSError(errno.ENOSPC, "No space left on device")

    encode = SequenceJob.encode
    monkeypatch.setattr(SequenceJob, "encode", filling)
    with pytest.raises(HandkitError, match="disk is full") as caught:
        run_generate(job(tmp_path, poses), workers=1)
    assert "the 1 finished shards stay" in caught.value.fix
    assert set(files(tmp_path)) == {"seqhand-train-000000.tar", "unfinished.json"}
    monkeypatch.undo()
    assert run_generate(job(tmp_path, poses), workers=1).summary["shards_there_before"] == 1
    assert files(tmp_path) == files(whole)


def test_what_goes_wrong_in_a_worker_is_told(poses: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "pictures" / "cut.png", np.random.default_rng(0).integers(0, 255, (120, 120, 3), np.uint8))
    cut = (tmp_path / "pictures" / "cut.png").read_bytes()[:2000]
    (tmp_path / "pictures" / "cut.png").write_bytes(cut)
    with pytest.raises(HandkitError, match="every picture of the backgrounds is damaged"):
        run_generate(job(tmp_path / "out", poses, backgrounds=tmp_path / "pictures"), workers=2)
    assert set(files(tmp_path / "out")) == {"unfinished.json"}


def test_broken_backgrounds_are_counted(poses: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(2):
        write_image(tmp_path / "pictures" / f"{number}.png", rng.integers(0, 255, (120, 120, 3), np.uint8))
    (tmp_path / "pictures" / "broken.jpg").write_bytes(b"no picture")
    write_image(tmp_path / "pictures" / "tiny.png", np.zeros((8, 8, 3), np.uint8))
    arguments = [
        "--backgrounds",
        tmp_path / "pictures",
        "--workers",
        "1",
        "--json",
        *command(tmp_path / "out", poses)[5:],
    ]
    code, stdout, _ = run_handkit("generate", "seqhand", *arguments)
    assert code == 0
    skipped = [Path(name).name for name in json.loads(stdout)["pictures_skipped"]]
    assert skipped == ["broken.jpg", "tiny.png"]
    assert len(orjson.loads((tmp_path / "out" / "dataset.json").read_bytes())["pictures_skipped"]) == 2


def test_unreadable_poses_are_told_with_their_line(tmp_path: Path) -> None:
    (tmp_path / "poses.txt").write_text("a.png\t" + "\t".join(["1.0"] * 63) + "\nb.png\t1\t2\n")
    code, stdout, stderr = run_handkit(
        "generate", "seqhand", "--poses", tmp_path / "poses.txt", "--out", tmp_path / "out", "--json"
    )
    assert code == 1
    assert "line 2" in stderr
    assert stderr.startswith("error: ")
    assert "line 2" in json.loads(stdout)["error"]


def test_dry_run_writes_nothing(poses: Path, tmp_path: Path) -> None:
    code, stdout, _ = run_handkit(*command(tmp_path / "out", poses)[3:], "--dry-run", "--json")
    plan = json.loads(stdout)
    assert (code, plan["sequences"], plan["frames"], plan["shards"]) == (0, 7, 21, 3)
    assert not (tmp_path / "out").exists()
    assert plan["bytes"] > 1e5
    assert plan["seconds"] > 0


def test_dry_run_foresees_the_size(whole: Path, poses: Path) -> None:
    size = sum(path.stat().st_size for path in whole.glob("*.tar"))
    assert generate.measure_run(job(whole, poses), workers=1)["bytes"] == pytest.approx(size, rel=0.1)


@pytest.mark.parametrize("frames", [1, 3])
def test_preview_shows_the_first_sequences(frames: int, poses: Path, tmp_path: Path) -> None:
    from handkit.video import VideoReader, read_image

    run_generate(job(tmp_path, poses, f"frames={frames}", sequences=2), workers=1, preview=True)
    sheet = read_image(tmp_path / "preview.png")
    assert sheet.shape == ((96, 192, 3) if frames == 1 else (192, 288, 3))
    with tarfile.open(tmp_path / "seqhand-train-000000.tar") as archive:
        assert len(archive.getnames()) == 2 * frames * 3
    assert VideoReader(tmp_path / "preview.mp4").size == (192, 96)


def test_options_reach_the_recipe(tmp_path: Path, poses: Path) -> None:
    text = "--frames 2 --size 64 --no-shading --forearm bare --occluders both --seed 5 --split val --sequences 9"
    code, stdout, _ = run_handkit(
        "generate", "seqhand", "--out", tmp_path / "out", "--poses", poses, *text.split(), "--set", "flow.alpha=1",
        "--recipe", "seqhand-published", "--dry-run", "--json",
    )  # fmt: skip
    assert code == 0
    plan = json.loads(stdout)
    assert (plan["seed"], plan["split"], plan["sequences"], plan["frames"]) == (5, "val", 9, 18)
    recipe = plan["recipe"]
    assert (recipe["size"], recipe["shading"], recipe["flow"]["alpha"]) == (64, False, 1.0)
    assert recipe["forearm"] == {"bare": 1.0, "sleeve": 0.0}
    assert recipe["occluders"] == {"front": 0.5, "held": 0.5}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--set", "flow.alpa=1"], 1, "did you mean flow.alpha"),
        (["--recipe", "seqhnd"], 1, "did you mean seqhand"),
        (["--sequences", "0"], 2, "greater"),
        (["--forearm", "wooden"], 2, "wooden"),
        (["--hand-model", "none.pkl"], 1, "none.pkl"),
        (["--backgrounds", "nowhere"], 1, "nowhere"),
    ],
)
def test_bad_command_lines(arguments: list[str], code: int, said: str, poses: Path, tmp_path: Path) -> None:
    ended, stdout, stderr = run_handkit("generate", "seqhand", "--out", tmp_path, "--poses", poses, *arguments)
    assert (ended, stdout) == (code, "")
    assert said in " ".join(stderr.split())
