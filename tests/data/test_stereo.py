"""Read from shards that are written here, in the documented layout, with cameras that are not the default ones."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from handkit.data.registry import build_dataset
from handkit.data.sample import check_sample, collate
from handkit.data.stereo import StereoDataset, StereoStream, split_number
from handkit.errors import HandkitError
from handkit.hand import ManoLayer
from tests.data.making import HAND, mask, npz, picture, png, sequence_arrays, write_card, write_tar
from tests.data.posing import HANDS

K_LEFT = np.array([[50, 0, 24], [0, 52, 22], [0, 0, 1]])
K_RIGHT = np.array([[51, 0, 23], [0, 52, 22], [0, 0, 1]])
RT_LEFT = np.hstack([cv2.Rodrigues(np.array([0.1, -0.2, 0.3]))[0], [[0.01], [0.02], [0.5]]])
RT_RIGHT = RT_LEFT - np.array([[0, 0, 0, 0.063], [0, 0, 0, 0], [0, 0, 0, 0]])


def pair_arrays(number: int, side: str = "right") -> dict[str, np.ndarray]:
    """A hand in a world in which neither camera is the origin."""
    drawn = sequence_arrays(number, 1, 45)[0]
    rng = np.random.default_rng(number)
    known = {"hand_pose": drawn["theta"], "beta": drawn["beta"], "global_orient": drawn["r"]}
    known["transl"] = rng.normal(0, 0.02, 3).astype(np.float32)
    names = {"betas": "beta"}
    layer = {
        key: torch.from_numpy(known[names.get(key, key)]) for key in ("hand_pose", "betas", "global_orient", "transl")
    }
    posed = ManoLayer(HANDS[side])(**layer)
    known |= {"vertices": posed.vertices.numpy(), "joints_3d": posed.joints.numpy()}
    known["is_right"] = np.array(side == "right")
    for view, K, Rt in (("left", K_LEFT, RT_LEFT), ("right", K_RIGHT, RT_RIGHT)):
        pixels = (known["joints_3d"] @ Rt[:, :3].T + Rt[:, 3]) @ K.T
        known |= {f"joints_2d_{view}": pixels[:, :2] / pixels[:, 2:], f"K_{view}": K, f"Rt_{view}": Rt}
    return {key: value if value.dtype == bool else value.astype(np.float32) for key, value in known.items()}


def write_pairs(folder: Path, *, shards: int = 2, each: int = 3, side: str = "right") -> Path:
    folder.mkdir(exist_ok=True)
    for shard in range(shards):
        parts = []
        for number in range(shard * each, (shard + 1) * each):
            found = {"left.png": png(picture(number)), "right.png": png(picture(100 + number))}
            found |= {"left_mask.png": png(mask(number)), "right_mask.png": png(mask(50 + number))}
            found["hand.npz"] = npz(pair_arrays(number, side))
            parts += [(f"{number:06d}.{part}", content) for part, content in found.items()]
        write_tar(folder / f"stereo-train-{shard:06d}.tar", parts)
    write_card(folder, "stereo")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("data") / "stereo")


def test_each_view_is_in_its_own_cameras_frame(folder: Path) -> None:
    layer = ManoLayer(HAND)
    pairs = StereoDataset(folder)
    assert len(pairs) == 6
    for number, pair in enumerate(pairs):
        for view, shift in (("left", 0), ("right", 100)):
            sample = pair[view]
            check_sample(sample)
            assert sample["name"] == f"{number:06d}.{view}"
            np.testing.assert_array_equal(sample["image"][:, 0, 0], picture(shift + number)[0, 0])
            np.testing.assert_array_equal(sample["mask"], mask(shift // 2 + number) == 255)
            pixels = sample["joints_3d"] @ sample["K"].T
            np.testing.assert_allclose(pixels[:, :2] / pixels[:, 2:], sample["joints_2d"], atol=1e-4)
            parameters = {
                key: torch.from_numpy(sample[key]) for key in ("global_orient", "hand_pose", "betas", "transl")
            }
            np.testing.assert_allclose(layer(**parameters).vertices, sample["vertices"], atol=2e-6)
        Rt = pair["right_from_left"]
        moved = pair["left"]["vertices"] @ Rt[:, :3].T + Rt[:, 3]
        np.testing.assert_allclose(moved, pair["right"]["vertices"], atol=1e-6)
        np.testing.assert_allclose(Rt, [[1, 0, 0, -0.063], [0, 1, 0, 0], [0, 0, 1, 0]], atol=1e-6)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("reader", [StereoDataset, StereoStream])
def test_loaders_give_every_pair_once(folder: Path, reader: type, workers: int) -> None:
    loader = DataLoader(reader(folder), batch_size=2, num_workers=workers, collate_fn=collate)
    names = [name for batch in loader for name in batch["right"]["name"]]
    assert sorted(names) == [f"{n:06d}.right" for n in range(6)]


def test_the_stream_is_the_same_and_shuffles_by_seed_and_epoch(folder: Path) -> None:
    for one, other in zip(StereoDataset(folder), StereoStream(folder), strict=True):
        for key, value in one["left"].items():
            np.testing.assert_array_equal(value, other["left"][key], err_msg=key)
    stream = StereoStream(folder, shuffle=4, seed=1)
    orders = []
    for epoch in (0, 1, 0):
        stream.set_epoch(epoch)
        orders.append([pair["left"]["name"] for pair in stream])
    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == [f"{n:06d}.left" for n in range(6)]


def test_shards_that_are_cut_or_lack_a_view_are_named(folder: Path, tmp_path: Path) -> None:
    whole = (folder / "stereo-train-000001.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(whole[:-11000])
    with pytest.raises(HandkitError, match=r"a\.tar is cut off"):
        StereoDataset(tmp_path)
    write_tar(tmp_path / "a.tar", [("000000.left.png", png(picture(0)))])
    for reader in (StereoDataset, StereoStream):
        with pytest.raises(HandkitError, match=r"a\.tar.*000000"):
            list(reader(tmp_path))


@pytest.mark.parametrize("view", ["left", "right"])
def test_one_view_as_a_data_set_and_its_truth(folder: Path, view: str) -> None:
    views = build_dataset("stereo", folder, view=view)
    truth = views.truth()
    assert len(views) == len(truth) == 6
    for row, pair in enumerate(StereoDataset(folder)):
        sample = views[row]
        assert sample["name"] == truth.ids[row] == pair[view]["name"]
        np.testing.assert_array_equal(sample["image"], pair[view]["image"])
        np.testing.assert_allclose(truth.joints[row], sample["joints_3d"], atol=1e-6)
        np.testing.assert_allclose(truth.vertices[row], sample["vertices"], atol=1e-6)
        np.testing.assert_allclose(truth.K[row], sample["K"])
        pixels = truth.joints[row] @ truth.K[row].T
        np.testing.assert_allclose(pixels[:, :2] / pixels[:, 2:], truth.joints_2d[row], atol=1e-3)
    with pytest.raises(HandkitError, match="no such view"):
        build_dataset("stereo", folder, view="middle")


def test_places_among_pairs_of_one_hand(folder: Path, tmp_path: Path) -> None:
    assert [pair["left"]["sequence"] for pair in StereoDataset(folder)] == [f"{n:06d}" for n in range(6)]
    assert {int(pair["right"]["frame"]) for pair in StereoDataset(folder)} == {0}
    pairs = write_pairs(tmp_path / "pairs")
    write_card(pairs, "stereo", settings={"hand_model": "open", "split": "val", "recipe": {"same_hand": 4}})
    for reader in (StereoDataset, StereoStream):
        found = [(pair["right"]["sequence"], int(pair["right"]["frame"])) for pair in reader(pairs)]
        assert found == [*(("000000", n) for n in range(4)), ("000004", 0), ("000004", 1)]
    assert split_number("0012", 1, "a.tar") == ("0012", 0)
    with pytest.raises(HandkitError, match=r"a\.tar holds first, no number of a pair"):
        split_number("first", 2, "a.tar")
