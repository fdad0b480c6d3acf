"""The scripts of binocular networks: what they compare, and what they print."""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from handkit.checkpoint import CheckpointInfo, save_checkpoint
from handkit.geometry.disparity import triangulate
from handkit.hand import load_hand
from handkit.hand.mesh_joints import joints_of_mesh
from handkit.nets.lixel_system import build_lixel
from handkit.runs.stages import digest_weights
from tests.data.posing import posed
from tests.data.test_stereo import write_pairs

HAND = load_hand("open", "right")
FOCAL = 500.0


def write_lixel(path: Path, *, seed: int, prior: Path | None = None) -> Path:
    """A network that has not learned: of pairs where it was begun with a prior, else a prior."""
    torch.manual_seed(seed)
    network = build_lixel(backbone="plain-slim", features=8, depth=64 if prior is None else None)
    data: dict[str, object] = {"hand": "open", "size": 64, "box_scale": 1.5}
    recipe: dict[str, object] = {}
    if prior is not None:
        data |= {"centre": "box", "prior": digest_weights(prior)}
        recipe = {"data": {"held_out": 0.5, "noise": {}}}
    method = "hand-prior" if prior is None else "binocular"
    save_checkpoint(path, network, CheckpointInfo(method, network.describe(), recipe, 7, data=data))
    return path


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_lixel(tmp_path_factory.mktemp("prior") / "hand-prior.safetensors", seed=0)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, prior: Path) -> Path:
    return write_lixel(tmp_path_factory.mktemp("net") / "binocular.safetensors", seed=1, prior=prior)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("pairs"), shards=1, each=4)


def test_before_and_after_are_of_the_same_pairs(
    checkpoint: Path, prior: Path, pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from binocular_stereo import main

    given = [str(checkpoint), "--prior", str(prior), "--pairs", str(pairs), "--device", "cpu"]
    main([*given, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["pairs"] == found["before"]["count"] == found["after"]["count"] == 2
    assert found["before"]["mpvpe_mm"] != found["after"]["mpvpe_mm"]
    main([*given, "--all"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("4 pairs")
    assert [line.split("  ")[0] for line in lines[1:]] == [
        f"{name}, {kind}" for name in ("before", "after") for kind in ("vertices", "joints")
    ]
    main([str(prior), "--pairs", str(pairs), "--device", "cpu", "--json"])
    alone = json.loads(capsys.readouterr().out)
    assert (alone["pairs"], "after" in alone) == (4, False)


def test_a_prior_of_another_run_is_refused(checkpoint: Path, pairs: Path, tmp_path: Path) -> None:
    from binocular_stereo import main

    other = write_lixel(tmp_path / "other.safetensors", seed=2)
    with pytest.raises(SystemExit, match="the checkpoint was not begun with"):
        main([str(checkpoint), "--prior", str(other), "--pairs", str(pairs)])


def real_pair(shift_px: float = 0.0) -> tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor]:
    """A batch of one hand whose keypoints are its own joints, off in the left view; its mesh, and K in widths."""
    mesh = torch.from_numpy(posed(3)["vertices"])[None]
    K = torch.tensor([[[FOCAL, 0, 320], [0, FOCAL, 240], [0, 0, 1]]], dtype=torch.float64) / torch.tensor(
        [100.0, 100, 1], dtype=torch.float64
    ).view(3, 1)
    right_from_left = torch.eye(3, 4, dtype=torch.float64)[None].clone()
    right_from_left[0, 0, 3] = -0.1
    joints = joints_of_mesh(mesh, HAND)
    views = [joints, joints - right_from_left[:, None, :, 3]]
    seen = [(points / points[..., 2:] @ K.mT)[..., :2] for points in views]
    seen[1] = seen[1] + torch.tensor([0.0, shift_px / 100])
    return {"keypoints": torch.cat(seen), "right_from_left": right_from_left}, mesh, K


def test_joints_are_held_against_triangulated_keypoints() -> None:
    from binocular_real import against_keypoints

    batch, mesh, K = real_pair()
    seen = [
        (points / points[..., 2:] @ K.mT)[..., :2] for points in (mesh, mesh - batch["right_from_left"][:, None, :, 3])
    ]
    found = triangulate(seen[1], seen[0], K, K, batch["right_from_left"])
    exact = against_keypoints(batch, found, HAND, (K, K), FOCAL)
    assert max(float(value) for value in exact.values()) < 1e-4, "sums of rounded weights"
    batch, _, _ = real_pair(shift_px=4.0)
    off = against_keypoints(batch, found, HAND, (K, K), FOCAL)
    assert float(off["keypoints_gap_px"]) == pytest.approx(4)
    assert float(off["reprojected_px"]) == pytest.approx(2), "none in the right view, 4 px in the left one"
    depth = posed(3)["vertices"][:, 2].mean()
    assert float(off["joints_mm"]) == pytest.approx(1000 * 2 * depth / FOCAL, rel=0.1)
    assert float(off["pa_joints_mm"]) < float(off["joints_mm"]) / 5


@pytest.mark.parametrize(("text", "frames"), [("3:9", (3, 9)), ("3:", (3, sys.maxsize)), (":9", (0, 9))])
def test_frames(text: str, frames: tuple[int, int]) -> None:
    from binocular_real import parse_frames

    assert parse_frames(text) == frames
    for wrong in ("9:3", "a:b", "-", "4:4"):
        with pytest.raises(argparse.ArgumentTypeError):
            parse_frames(wrong)


@pytest.mark.slow
def test_the_real_videos(
    realdata: Path, checkpoint: Path, prior: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from binocular_real import main

    given = [str(prior), str(checkpoint), "--data", str(realdata), "--stride", "40", "--keep", str(tmp_path)]
    main([*given, "--json"])
    every = json.loads(capsys.readouterr().out)
    main([*given, "--frames", "200:", "--json"])
    some = json.loads(capsys.readouterr().out)
    assert some["pairs"] == every["pairs"] > some["scores"][0]["hands"] > 0
    assert min(some["frames"]) >= 200
    for row in some["scores"]:
        figures = [row[name] for name in ("gap_px", "joints_mm", "ra_joints_mm", "reprojected_px", "iou")]
        assert np.isfinite(figures).all()
    assert some["scores"][0]["gap_px"] != some["scores"][1]["gap_px"]
    assert some["scores"][0]["keypoints_gap_px"] == pytest.approx(some["scores"][1]["keypoints_gap_px"])
    with pytest.raises(SystemExit, match=r"none of \d+ hands is in frames 9000"):
        main([*given, "--frames", "9000:"])
