"""Read from shards that are written here, in the documented layout, not by the generator."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from handkit.data.sample import check_sample, collate, stack_samples
from handkit.data.seqhand import SeqHandDataset, SeqHandStream
from handkit.errors import HandkitError
from handkit.hand import ManoLayer
from tests.data.making import HAND, frame_parts, mask, picture, sequence_arrays, write_sequences, write_tar

STORED = ("beta", "r", "s", "t", "theta", "joints_2d", "joints_3d", "vertices")
READ = ("betas", "global_orient", "weak_scale", "weak_transl", "pca", "joints_2d", "joints_3d", "vertices")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sequences(tmp_path_factory.mktemp("data") / "seqhand")


def test_a_window_is_its_frames_stacked(folder: Path) -> None:
    windows = SeqHandDataset(folder, frames=2)
    for number in (1, 4):
        shard, first = map(int, windows._starts[number])
        known = stack_samples([windows.read_frame(shard, first + frame) for frame in range(2)])
        found = windows[number]
        assert found.keys() == known.keys()
        for key, value in known.items():
            assert type(found[key]) is type(value), key
            np.testing.assert_array_equal(found[key], value, err_msg=key)
            assert isinstance(value, list) or found[key].dtype == value.dtype, key


def test_a_hand_that_changes_sides_is_read_frame_by_frame(tmp_path: Path) -> None:
    arrays = sequence_arrays(0, 2)
    arrays[1]["is_right"] = np.array(False)
    parts = [part for frame, row in enumerate(arrays) for part in frame_parts(0, frame, row)]
    (item,) = SeqHandDataset(write_tar(tmp_path / "a.tar", parts))
    assert item["is_right"].tolist() == [True, False]
    assert not np.allclose(item["hand_pose"][1], HAND.hands_mean + arrays[1]["theta"] @ HAND.hands_components[:10])


def names(items: object) -> list[str]:
    return [item["name"][0] for item in items]


def test_whole_sequences_as_they_were_stored(folder: Path) -> None:
    sequences = SeqHandDataset(folder)
    assert len(sequences) == 6
    item = sequences[3]
    assert item["name"] == [f"000003_{frame:03d}" for frame in range(4)]
    assert item["sequence"] == ["000003"] * 4
    assert item["dataset"] == ["seqhand-val"] * 4
    np.testing.assert_array_equal(item["frame"], range(4))
    for frame, arrays in enumerate(sequence_arrays(3, 4)):
        for stored, read in zip(STORED, READ, strict=True):
            np.testing.assert_array_equal(item[read][frame], arrays[stored], err_msg=read)
        np.testing.assert_array_equal(item["image"][frame], picture(30 + frame).transpose(2, 0, 1))
        np.testing.assert_array_equal(item["mask"][frame], mask(30 + frame) == 255)
    assert item["weak_valid"].all()
    assert not item["K_valid"].any()


def test_every_frame_follows_the_schema_and_the_layer_rebuilds_it(folder: Path) -> None:
    layer = ManoLayer(HAND)
    for item in SeqHandDataset(folder, frames=1):
        frame = {key: value[0] for key, value in item.items()}
        check_sample(frame)
        parameters = {key: torch.from_numpy(frame[key]) for key in ("global_orient", "hand_pose", "betas", "transl")}
        rebuilt = layer(**parameters)
        np.testing.assert_allclose(rebuilt.vertices, frame["vertices"], atol=2e-6)
        np.testing.assert_allclose(rebuilt.joints, frame["joints_3d"], atol=2e-6)
        shown = frame["weak_scale"] * frame["joints_3d"][:, :2] + frame["weak_transl"]
        np.testing.assert_allclose(shown, frame["joints_2d"], atol=1e-4)
        np.testing.assert_allclose(frame["bbox"][:2], frame["vertices_2d"].min(0))


def test_sets_of_45_values(tmp_path: Path) -> None:
    item = SeqHandDataset(write_sequences(tmp_path / "full", shards=1, each=1, coefficients=45))[0]
    np.testing.assert_array_equal(item["hand_pose"][2], sequence_arrays(0, 4, 45)[2]["theta"])
    assert item["pose_valid"].all()
    assert not item["pca_valid"].any()


@pytest.mark.parametrize(
    ("frames", "stride", "starts"),
    [(None, None, [0]), (2, None, [0, 2]), (3, None, [0]), (3, 1, [0, 1]), (1, 3, [0, 3])],
)
def test_windows(folder: Path, frames: int | None, stride: int | None, starts: list[int]) -> None:
    found = names(SeqHandDataset(folder, frames=frames, stride=stride))
    assert found == [f"{sequence:06d}_{start:03d}" for sequence in range(6) for start in starts]
    assert names(SeqHandStream(folder, frames=frames, stride=stride)) == found


def test_windows_longer_than_the_sequences_are_refused(folder: Path) -> None:
    with pytest.raises(HandkitError, match="sequences of 4 frames, fewer than 5"):
        SeqHandDataset(folder, frames=5)


@pytest.mark.parametrize("workers", [0, 2])
def test_loaders_give_every_sequence_once(folder: Path, workers: int) -> None:
    loader = DataLoader(SeqHandDataset(folder), batch_size=2, num_workers=workers, collate_fn=collate)
    assert [row[0] for batch in loader for row in batch["name"]] == [f"{n:06d}_000" for n in range(6)]
    stream = DataLoader(SeqHandStream(folder), batch_size=2, num_workers=workers, collate_fn=collate)
    assert sorted(row[0] for batch in stream for row in batch["name"]) == [f"{n:06d}_000" for n in range(6)]


def test_the_stream_gives_the_same_samples(folder: Path) -> None:
    for one, other in zip(SeqHandDataset(folder), SeqHandStream(folder), strict=True):
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], other[key], err_msg=key)


def test_shuffling_repeats_by_seed_and_epoch(folder: Path) -> None:
    def order(seed: int, epoch: int) -> list[str]:
        stream = SeqHandStream(folder, frames=1, shuffle=8, seed=seed)
        stream.set_epoch(epoch)
        return names(stream)

    plain = names(SeqHandStream(folder, frames=1))
    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(seed, epoch)) for seed, epoch in [(0, 0), (0, 1), (1, 0)]} | {tuple(plain)}) == 4
    assert sorted(order(1, 3)) == plain
    assert sum(one[:6] != other[:6] for one, other in zip(order(0, 0), order(0, 0)[1:], strict=False)) > 8


def test_half_and_foreign_shards(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    shard = copy / "seqhand-val-000001.tar"
    shard.rename(copy / ".seqhand-val-000001.abcd.part.tar")
    assert len(SeqHandDataset(copy)) == 4
    (copy / "dataset.json").unlink()
    shard.write_bytes((folder / shard.name).read_bytes()[:-20000])
    with pytest.raises(HandkitError, match=r"seqhand-val-000001\.tar is cut off"):
        SeqHandDataset(copy)
    with pytest.raises(HandkitError, match=r"seqhand-val-000001\.tar is cut off"):
        list(SeqHandStream(copy))


@pytest.mark.parametrize("reader", [SeqHandDataset, SeqHandStream])
def test_shards_of_other_content(tmp_path: Path, reader: type) -> None:
    arrays = sequence_arrays(0, 3)
    frames = [frame_parts(0, frame, row) for frame, row in enumerate(arrays)]
    path = write_tar(tmp_path / "a.tar", [*frames[0], *frames[2]])
    with pytest.raises(HandkitError, match="sequence 000000 lacks frames"):
        list(reader(path))
    write_tar(path, frames[0][:2])
    with pytest.raises(HandkitError, match="000000_000"):
        list(reader(path))
    write_tar(path, [(name.replace("000000_000", "cat"), content) for name, content in frames[0]])
    with pytest.raises(HandkitError, match="cat, no frame of a sequence"):
        list(reader(path))
    broken = dict(frames[0]) | {"000000_000.image.png": b"no picture"}
    write_tar(path, list(broken.items()))
    with pytest.raises(HandkitError, match=r"a\.tar: 000000_000\.image\.png is not an image"):
        list(reader(path))
