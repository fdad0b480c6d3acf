"""Shards: bytes that depend on the content alone, never half written, readable by webdataset."""

import errno
import io
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import webdataset

from handkit.errors import HandkitError
from handkit.synth.shards import (
    ShardNote,
    clear_temporaries,
    encode_image,
    encode_npz,
    finished_shard,
    note_path,
    remove_shards,
    write_note,
    write_shard,
)

NOTE = ShardNote(
    name="seqhand-train-000000.tar",
    fingerprint="abc",
    first=0,
    sequences=2,
    frames=6,
    bytes=10240,
    sha256="0",
    digests=["1", "2"],
    statistics={"frames_by_view": {"egocentric": 6}},
)


def parts() -> Iterator[tuple[str, bytes]]:
    for key in ("000000_000", "000000_001"):
        yield f"{key}.image.jpg", encode_image(np.full((8, 8, 3), 90, np.uint8), "jpg")
        yield f"{key}.mask.png", encode_image(np.full((8, 8), 255, np.uint8), "png")
        yield f"{key}.hand.npz", encode_npz({"s": np.float32(3), "t": np.zeros(2, np.float32)})


def test_bytes_do_not_depend_on_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size, sha256 = write_shard(tmp_path / "a.tar", parts())
    monkeypatch.setattr(time, "time", lambda: 2e9)
    assert write_shard(tmp_path / "b.tar", parts()) == (size, sha256)
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    with tarfile.open(tmp_path / "a.tar") as archive:
        members = archive.getmembers()
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in members} == {(0, 0, 0, "", "")}


# webdataset leaves its files to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_webdataset_reads_one_sample_a_frame(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.tar", parts())
    reader = webdataset.WebDataset(str(tmp_path / "a.tar"), shardshuffle=False, empty_check=False)
    samples = list(reader.decode("rgb8"))
    assert [sample["__key__"] for sample in samples] == ["000000_000", "000000_001"]
    assert {name for name in samples[0] if not name.startswith("__")} == {"image.jpg", "mask.png", "hand.npz"}
    assert samples[0]["hand.npz"]["s"] == 3
    assert samples[0]["hand.npz"]["s"].dtype == np.float32


def test_npz_holds_the_arrays_uncompressed() -> None:
    arrays = {"a": np.arange(12, dtype=np.float32).reshape(3, 4), "flag": np.bool_(True)}
    with np.load(io.BytesIO(encode_npz(arrays)), allow_pickle=False) as read:
        assert set(read) == set(arrays)
        for name, values in arrays.items():
            assert np.array_equal(read[name], values)
            assert read[name].dtype == values.dtype
    assert np.arange(12, dtype=np.float32).tobytes() in encode_npz(arrays)


def test_pictures_keep_their_colours() -> None:
    import cv2

    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 200
    for ending, off in (("png", 0), ("jpg", 4)):
        read = cv2.imdecode(np.frombuffer(encode_image(red, ending), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        assert np.abs(read.astype(int) - red).max() <= off


def test_a_shard_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    def failing() -> Iterator[tuple[str, bytes]]:
        yield from parts()
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(HandkitError, match="disk is full"):
        write_shard(tmp_path / "a.tar", failing())
    assert list(tmp_path.iterdir()) == []


def test_a_shard_is_finished_when_its_note_says_so_of_the_same_run(tmp_path: Path) -> None:
    shard = tmp_path / NOTE.name
    shard.write_bytes(bytes(10240))
    assert finished_shard(shard, fingerprint="abc", sequences=2) is None
    write_note(shard, NOTE)
    assert finished_shard(shard, fingerprint="abc", sequences=2) == NOTE
    assert finished_shard(shard, fingerprint="other", sequences=2) is None
    assert finished_shard(shard, fingerprint="abc", sequences=3) is None
    note_path(shard).write_text("{")
    assert finished_shard(shard, fingerprint="abc", sequences=2) is None
    write_note(shard, NOTE)
    shard.write_bytes(bytes(512))
    assert finished_shard(shard, fingerprint="abc", sequences=2) is None


def test_only_temporaries_and_own_shards_are_removed(tmp_path: Path) -> None:
    kept = ["mine.tar", "seqhand-notes.txt", "stereo-train-000000.tar", ".hidden"]
    ours = ["seqhand-train-000000.tar", "dataset.json", "unfinished.json"]
    for name in [
        *kept,
        *ours,
        ".seqhand-train-000001.0a1b2c3d.part.tar",
        ".dataset.0a1b2c3d.part.json",
        ".rig.0a1b2c3d.part.json",
    ]:
        (tmp_path / name).write_text("x")
    write_note(tmp_path / NOTE.name, NOTE)
    (note_path(tmp_path / NOTE.name).with_name(".seqhand-train-000000.0a1b2c3d.part.json")).write_text("x")
    assert clear_temporaries(tmp_path, "seqhand") == 4
    assert {path.name for path in tmp_path.iterdir()} == {*kept, *ours, ".shards"}
    remove_shards(tmp_path, "seqhand")
    assert {path.name for path in tmp_path.iterdir()} == set(kept)
