"""Every example runs, on inputs made by the built-in clip."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from handkit.demo.clip import make_clip
from handkit.demo.options import DemoOptions
from handkit.demo.run import run_demo
from handkit.images import read_image, write_image
from handkit.nets.lixel_system import load_lixel
from handkit.video import VideoReader
from tests.data.making import write_sequences

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clip"), frames=5)


def run(monkeypatch: pytest.MonkeyPatch, name: str, *arguments: object) -> None:
    monkeypatch.setattr("sys.argv", [name, *map(str, arguments)])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def test_image_to_hands(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_image(tmp_path / "photo.png", next(iter(VideoReader(clip))).image)
    run(monkeypatch, "image_to_hands.py", tmp_path / "photo.png", tmp_path / "hand.obj")
    assert capsys.readouterr().out.startswith("a right hand, wrist at (")
    lines = (tmp_path / "hand.obj").read_text().splitlines()
    assert sum(line.startswith("v ") for line in lines) == 778
    assert sum(line.startswith("f ") for line in lines) == 1538


def test_joints_to_hand(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with np.load(clip.parent / "truth.npz") as truth:
        np.save(tmp_path / "joints.npy", truth["joints_3d"])
    run(monkeypatch, "joints_to_hand.py", tmp_path / "joints.npy", tmp_path / "parameters.npz")
    assert capsys.readouterr().out.startswith("5 hands, joints within ")
    with np.load(tmp_path / "parameters.npz") as parameters:
        assert parameters["hand_pose"].shape == (5, 45)


def test_read_hands(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_demo([str(clip)], tmp_path, DemoOptions(overlay=False))
    run(monkeypatch, "read_hands.py", tmp_path / "clip/hands.npz")
    assert capsys.readouterr().out.startswith("track 0: right, 5 frames, wrist travelled ")


def test_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run(monkeypatch, "picture.py", tmp_path / "picture.png")
    assert capsys.readouterr().out == "2 hands\n"
    assert read_image(tmp_path / "picture.png").shape[0] == 420


def test_load_sequences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run(monkeypatch, "load_sequences.py", write_sequences(tmp_path / "seqhand", shards=1, each=2, frames=4))
    assert capsys.readouterr().out.startswith("images (4, 2, 3, 48, 48), joints (4, 2, 21, 3), moved ")


def test_binocular_transfer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, "binocular_transfer.py", tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["before", "after", "a held-out hand"]
    assert load_lixel(tmp_path / "prior" / "hand-prior.safetensors")[0].depth is not None
    assert load_lixel(tmp_path / "binocular" / "binocular.safetensors")[0].depth is None


def test_every_example_is_run_here() -> None:
    here = Path(__file__).read_text()
    assert [path.name for path in EXAMPLES.glob("*.py") if f'"{path.name}"' not in here] == []
