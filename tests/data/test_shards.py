import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest

from handkit.data.shards import (
    IndexedShards,
    _plain_arrays,
    check_whole,
    decode_arrays,
    find_shards,
    index_shard,
    read_card,
)
from handkit.errors import HandkitError
from handkit.synth.shards import encode_npz
from tests.data.making import npz, write_card, write_tar

PARTS = (("txt",), ("a.png", "a.jpg"))
TWO = [("1.txt", b"one"), ("1.a.jpg", b"x" * 600), ("2.txt", b""), ("2.a.jpg", b"two")]


def test_finds_shards_but_no_half_ones(tmp_path: Path) -> None:
    for name in ("b.tar", "a.tar", ".c.1234.part.tar", "a.txt"):
        (tmp_path / name).touch()
    both = [tmp_path / "a.tar", tmp_path / "b.tar"]
    assert find_shards(tmp_path) == both
    assert find_shards(str(tmp_path / "*.tar")) == both
    assert find_shards([tmp_path / "b.tar", tmp_path / "a.tar"]) == both[::-1]
    assert find_shards(tmp_path / "a.tar") == both[:1]


def test_says_where_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(HandkitError, match="holds no shards"):
        find_shards(tmp_path)
    with pytest.raises(HandkitError, match="nowhere does not exist"):
        find_shards(tmp_path / "nowhere")


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_reads_any_sample_of_any_tar(tmp_path: Path, format: int) -> None:
    path = write_tar(tmp_path / "a.tar", TWO, format)
    shards = IndexedShards([path], PARTS)
    assert shards.indices[0].keys == ["1", "2"]
    assert shards.indices[0].parts == ("txt", "a.jpg")
    assert shards.read(0, 1) == ("2", {"txt": b"", "a.jpg": b"two"})
    assert pickle.loads(pickle.dumps(shards)).read(0, 0) == ("1", {"txt": b"one", "a.jpg": b"x" * 600})


def test_files_are_closed(tmp_path: Path) -> None:
    shards = IndexedShards([write_tar(tmp_path / "a.tar", TWO)], PARTS)
    shards.read(0, 0)
    (number,) = shards._open.values()
    del shards
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


@pytest.mark.parametrize("kept", [1, 511, 512, 700, 1536, 2048, 3000])
def test_a_shard_that_is_cut_off_is_named(tmp_path: Path, kept: int) -> None:
    path = write_tar(tmp_path / "a.tar", TWO)
    check_whole(path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(HandkitError, match=r"a\.tar is cut off"):
        index_shard(path, PARTS)


def test_a_shard_that_is_cut_between_two_files_is_named(tmp_path: Path) -> None:
    with tarfile.open(write_tar(tmp_path / "a.tar", TWO)) as archive:
        end = archive.getmembers()[2].offset
    whole = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(whole[:end])
    with tarfile.open(tmp_path / "a.tar") as archive:  # which tarfile takes for a whole one
        assert len(archive.getmembers()) == 2
    with pytest.raises(HandkitError, match=r"a\.tar is cut off"):
        index_shard(tmp_path / "a.tar", PARTS)


def test_a_shard_that_is_damaged_inside_is_named(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", TWO)
    content = bytearray(path.read_bytes())
    content[1024 + 20] ^= 255
    path.write_bytes(content)
    with pytest.raises(HandkitError, match=r"a\.tar is damaged"):
        index_shard(path, PARTS)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([("1.txt", b"")], "the sample 1 has no a.png or a.jpg"),
        ([*TWO, ("3.cls", b"")], "holds 3.cls, which is no part"),
        ([*TWO, ("1.txt", b"")], "holds the sample 1 twice"),
        ([*TWO[:2], ("1.a.png", b"")], "the sample 1 has several of a.png, a.jpg"),
        ([*TWO, ("readme", b"")], "holds readme"),
    ],
)
def test_foreign_shards_are_refused(tmp_path: Path, parts: list[tuple[str, bytes]], said: str) -> None:
    with pytest.raises(HandkitError, match=said):
        index_shard(write_tar(tmp_path / "a.tar", parts), PARTS)


def test_the_card_guards_the_shards(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", TWO)
    assert read_card([path], "seqhand") == {}
    write_card(tmp_path, "seqhand")
    assert read_card([path], "seqhand") == {"hand_model": "open", "split": "val"}
    with pytest.raises(HandkitError, match="holds seqhand data, not stereo"):
        read_card([path], "stereo")
    with pytest.raises(HandkitError, match=r"b\.tar is not one of the shards"):
        read_card([path, write_tar(tmp_path / "b.tar", TWO)], "seqhand")
    write_tar(path, TWO * 20)
    with pytest.raises(HandkitError, match=r"a\.tar has \d+ bytes, not the \d+"):
        read_card([path], "seqhand")
    (tmp_path / "dataset.json").write_text('{"kind": "seqhand"}')
    with pytest.raises(HandkitError, match=r"dataset\.json is damaged"):
        read_card([path], "seqhand")


def test_arrays_that_are_pickled_damaged_or_missing_are_refused() -> None:
    whole = npz({"theta": np.zeros(10), "beta": np.ones(10)})
    assert decode_arrays(whole, "x", ["beta"])["beta"].sum() == 10
    with pytest.raises(HandkitError, match="x lacks r"):
        decode_arrays(whole, "x", ["beta", "r"])
    for content in (b"no zip", whole[:-30], npz({"theta": np.array([{}])})):
        with pytest.raises(HandkitError, match="x is damaged"):
            decode_arrays(content, "x", ["theta"])


def test_arrays_as_generate_stores_them_and_as_numpy_does() -> None:
    rng = np.random.default_rng(0)
    kept = {"a": rng.random((3, 4), np.float32), "b": np.array(True), "c": np.arange(5), "d": np.float32(2.5)}
    plain = encode_npz(kept)
    assert _plain_arrays(plain) is not None
    odd = {"turned": np.asfortranarray(rng.random((3, 4))), "none": np.zeros((0, 3))}
    for content, arrays in ((plain, kept), (npz(kept), kept), (encode_npz(odd), odd)):
        found = decode_arrays(content, "a.tar: 1.npz", arrays)
        assert found.keys() == arrays.keys()
        for name, value in arrays.items():
            np.testing.assert_array_equal(found[name], value, strict=True)
    at = plain.index(kept["a"].tobytes()) + 7
    for damaged in (plain[:at] + bytes([plain[at] ^ 1]) + plain[at + 1 :], plain[: at + 20], plain[:100]):
        assert _plain_arrays(damaged) is None
        with pytest.raises(HandkitError, match=r"a\.tar: 1\.npz is damaged"):
            decode_arrays(damaged, "a.tar: 1.npz", kept)
    with pytest.raises(HandkitError, match=r"1\.npz lacks e"):
        decode_arrays(plain, "a.tar: 1.npz", ["a", "e"])
