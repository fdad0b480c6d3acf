"""Checkpoints: what goes in comes out, and what is wrong is told."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from handkit import checkpoint
from handkit.checkpoint import (
    CheckpointInfo,
    find_weights,
    load_resume,
    load_state,
    read_checkpoint,
    save_checkpoint,
    save_resume,
)
from handkit.errors import HandkitError

INFO = CheckpointInfo(
    "tiny", {"name": "tiny", "width": 3}, {"train": {"steps": 5}}, 5, {"error_mm": 1.5}, {"hand": "open"}
)


def network(width: int = 3) -> nn.Sequential:
    torch.manual_seed(width)
    return nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width))


@pytest.mark.parametrize("half", [False, True])
def test_round_trip(tmp_path: Path, half: bool) -> None:
    path, first, second = tmp_path / "a" / "tiny.safetensors", network(), network()
    nn.init.zeros_(second[0].weight)
    save_checkpoint(path, first, INFO, half=half)
    info, state = read_checkpoint(path)
    assert info == INFO
    load_state(second, state, path)
    for name, value in second.state_dict().items():
        assert value.dtype == first.state_dict()[name].dtype
        torch.testing.assert_close(value, first.state_dict()[name], rtol=1e-3 if half else 0, atol=0)
    assert state["0.weight"].dtype == (torch.float16 if half else torch.float32)
    assert state["1.num_batches_tracked"].dtype == torch.int64


def test_metadata_is_one_key_of_json(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "tiny.safetensors", network(), INFO)
    with safe_open(tmp_path / "tiny.safetensors", framework="pt") as file:
        metadata = file.metadata()
    assert list(metadata) == ["handkit"]
    assert json.loads(metadata["handkit"])["recipe"] == {"train": {"steps": 5}}


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(path, network(), INFO)
    state = read_checkpoint(path)[1]
    with pytest.raises(HandkitError, match=r"0\.weight is \[3, 2\], not \[4, 2\]"):
        load_state(network(4), state, path)
    with pytest.raises(HandkitError, match=r"another network: 2\.weight is missing"):
        load_state(nn.Sequential(*network(), nn.Linear(3, 1)), state, path)
    with pytest.raises(HandkitError, match=r"1\.bias is over"):
        load_state(nn.Sequential(nn.Linear(2, 3)), state, path)
    state["0.bias"][0] = torch.nan
    with pytest.raises(HandkitError, match=r"0\.bias has values that are not finite"):
        load_state(network(), state, path)


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(path, network(), INFO)
    whole = path.read_bytes()
    for content in (whole[:-7], whole[:20], b"", b"no checkpoint at all"):
        path.write_bytes(content)
        with pytest.raises(HandkitError, match="no readable safetensors file"):
            read_checkpoint(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(HandkitError, match="says nothing of the network"):
        read_checkpoint(path)
    save_file({"a": torch.zeros(1)}, path, metadata={"handkit": '{"method": "tiny", "surplus": 1}'})
    with pytest.raises(HandkitError, match="metadata cannot be read"):
        read_checkpoint(path)
    with pytest.raises(HandkitError, match="is no file"):
        read_checkpoint(tmp_path / "nothing.safetensors")


def test_what_does_not_fit_fp16_is_refused(tmp_path: Path) -> None:
    large = network()
    nn.init.constant_(large[0].bias, 1e6)
    with pytest.raises(HandkitError, match=r"0\.bias has values beyond fp16"):
        save_checkpoint(tmp_path / "tiny.safetensors", large, INFO, half=True)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_last_good_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, resume = tmp_path / "tiny.safetensors", tmp_path / "resume.pt"
    save_checkpoint(path, network(), INFO)
    save_resume(resume, {"step": 1})
    before = path.read_bytes()

    def full(self: Path, content: bytes) -> int:
        with self.open("wb") as file:
            file.write(bytes(content)[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(HandkitError, match="the disk is full"):
        save_checkpoint(path, network(4), INFO)
    with pytest.raises(HandkitError, match="the disk is full"):
        save_resume(resume, {"step": 2})
    assert path.read_bytes() == before
    assert load_resume(resume) == {"step": 1}
    assert sorted(tmp_path.iterdir()) == [resume, path]


def test_resume_holds_plain_values_only(tmp_path: Path) -> None:
    path = tmp_path / "resume.pt"
    torch.save({"path": Path("x")}, path)
    with pytest.raises(HandkitError, match="cannot be read"):
        load_resume(path)
    path.write_bytes(b"cut off")
    with pytest.raises(HandkitError, match="cannot be read"):
        load_resume(path)
    torch.save([1], path)
    with pytest.raises(HandkitError, match="holds no state"):
        load_resume(path)


def test_weights_are_looked_for_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package, named, here = (tmp_path / name for name in ("handkit", "named", "here"))
    for folder in (package / "weights", named, here / "weights"):
        folder.mkdir(parents=True)
        (folder / "x.safetensors").touch()
    monkeypatch.setattr(checkpoint, "__file__", str(package / "checkpoint.py"))
    monkeypatch.setenv("HANDKIT_WEIGHTS", str(named))
    monkeypatch.chdir(here)
    for expected in (package / "weights", named, Path("weights")):
        assert find_weights("x.safetensors") == expected / "x.safetensors"
        assert find_weights("y.safetensors", or_else="x.safetensors") == expected / "x.safetensors"
        (expected / "x.safetensors").unlink()
    with pytest.raises(HandkitError, match="no weights x") as caught:
        find_weights("x.safetensors")
    assert "handkit pretrain x --out" in caught.value.fix
    (named / "x.safetensors").touch()
    monkeypatch.setenv("HANDKIT_WEIGHTS", str(named / "x.safetensors"))
    assert find_weights("x.safetensors") == named / "x.safetensors"
