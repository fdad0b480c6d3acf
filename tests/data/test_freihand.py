import json
from pathlib import Path

import numpy as np
import pytest
import torch

from handkit.data import annotations
from handkit.data.annotations import read_numbers
from handkit.data.freihand import VARIANTS, FreiHand
from handkit.data.sample import check_sample
from handkit.errors import HandkitError
from handkit.hand import ManoLayer
from tests.data.posing import HANDS, plain, posed, seen_at, silhouette, write_image, write_json

K = np.array([[480.0, 0, 112], [0, 470, 110], [0, 0, 1]])
COUNT = 3


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FreiHAND_pub_v2 with three poses a split: pose without the mean, translation through keypoint 9's pixel."""
    folder = tmp_path_factory.mktemp("FreiHAND_pub_v2")
    for split in ("training", "evaluation"):
        hands = [posed(seed) for seed in range(COUNT)]
        write_json(folder / f"{split}_K.json", [K] * COUNT)
        write_json(folder / f"{split}_xyz.json", [hand["regressed"] for hand in hands])
        write_json(folder / f"{split}_verts.json", [hand["vertices"] for hand in hands])
        lengths = [np.linalg.norm(hand["regressed"][9] - hand["regressed"][10]) for hand in hands]
        write_json(folder / f"{split}_scale.json", lengths)
        for number in range(COUNT * (4 if split == "training" else 1)):
            colour = (250, 20 * (number // COUNT), 5)
            write_image(folder / split / "rgb" / f"{number:08d}.jpg", plain((224, 224), colour))
    for number, hand in enumerate(hands):
        mask = 255 * silhouette(hand["vertices"], K, (224, 224)).astype(np.uint8)
        write_image(folder / "training" / "mask" / f"{number:08d}.jpg", np.repeat(mask[..., None], 3, 2))
    write_json(folder / "training_mano.json", [[mano_vector(hand)] for hand in hands])
    return folder


def mano_vector(hand: dict[str, np.ndarray]) -> np.ndarray:
    x, y, z = hand["regressed"][9]
    scale = (K[0, 0] + K[1, 1]) / 2 / z
    pose = hand["hand_pose"] - HANDS["right"].hands_mean
    return np.concatenate([hand["global_orient"], pose, hand["betas"], np.array([x, y]) * scale + K[:2, 2], [scale]])


def test_every_variant_shows_the_same_hands(root: Path) -> None:
    dataset = FreiHand(root, "training", hand="open")
    assert len(dataset) == 4 * COUNT
    for index in range(len(dataset)):
        sample, hand = dataset[index], posed(index % COUNT)
        check_sample(sample)
        assert sample["name"] == f"{index:08d}"
        assert abs(int(sample["image"][1].mean()) - 20 * (index // COUNT)) < 3
        assert sample["image"][0].mean() > 240
        np.testing.assert_allclose(sample["joints_3d"], hand["regressed"], atol=1e-6)
        np.testing.assert_allclose(sample["vertices"], hand["vertices"], atol=1e-6)
        np.testing.assert_allclose(sample["joints_2d"], seen_at(hand["regressed"], K), atol=1e-3)
        outline = seen_at(hand["vertices"], K)
        np.testing.assert_allclose(sample["bbox"], [*outline.min(0), *outline.max(0)], atol=1e-3)
        assert sample["is_right"]
        drawn = silhouette(hand["vertices"], K, (224, 224))
        assert (sample["mask"].astype(bool) ^ drawn).mean() < 0.002  # JPEG's edges


def test_the_61_vector_rebuilds_the_mesh(root: Path) -> None:
    sample = FreiHand(root, "training", hand="open")[1]
    assert sample["pose_valid"]
    assert sample["transl_valid"]
    assert sample["hand_model"] == "open"
    given = {key: torch.from_numpy(sample[key]) for key in ("global_orient", "hand_pose", "betas", "transl")}
    rebuilt = ManoLayer(HANDS["right"])(**given).vertices.numpy()
    np.testing.assert_allclose(rebuilt, posed(1)["vertices"], atol=2e-6)


def test_pose_is_left_out_without_a_mano_file(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handkit.data.freihand.find_hand_file", lambda side: None)
    sample = FreiHand(root, "training")[0]
    assert sample["betas_valid"]
    assert not sample["pose_valid"]
    assert not sample["transl_valid"]


def test_variants_are_chosen_by_name(root: Path) -> None:
    dataset = FreiHand(root, "training", variants=("auto", "gs"), vertices=False, hand="open")
    assert [dataset[index]["name"] for index in (0, COUNT)] == ["00000009", "00000000"]
    assert VARIANTS.index("auto") == 3
    assert not dataset[0]["vertices_valid"]
    truth = dataset.truth()
    assert truth.vertices is None
    assert truth.ids[:COUNT] == ("00000009", "00000010", "00000011")
    np.testing.assert_array_equal(truth.joints[:COUNT], truth.joints[COUNT:])


def test_poses_are_shared_out_seventy_to_thirty(root: Path) -> None:
    """As RealisticHands split them: colours of one pose stay together, truth and samples are of the same rows."""
    learned, measured = (FreiHand(root, f"handnet-{split}", hand="open") for split in ("training", "validation"))
    assert (len(learned), len(measured)) == (4 * 2, 4 * 1)
    scenes = [{dataset.scene(index) for index in range(len(dataset))} for dataset in (learned, measured)]
    assert sorted([*scenes[0], *scenes[1]]) == [0, 1, 2]
    for dataset in (learned, measured):
        truth = dataset.truth()
        for index in range(len(dataset)):
            sample = dataset[index]
            check_sample(sample)
            assert sample["mask_valid"]
            assert (
                truth.ids[index]
                == sample["name"]
                == f"{dataset.scene(index) + COUNT * (index * 4 // len(dataset)):08d}"
            )
            np.testing.assert_allclose(sample["joints_3d"], truth.joints[index], atol=1e-6)
            np.testing.assert_allclose(sample["vertices"], truth.vertices[index], atol=1e-6)


def test_truth_is_exact_and_needs_no_images(root: Path, tmp_path: Path) -> None:
    for name in ("K", "xyz", "verts"):
        (tmp_path / f"evaluation_{name}.json").write_bytes((root / f"evaluation_{name}.json").read_bytes())
    truth = FreiHand(tmp_path).truth()
    assert truth.ids == ("00000000", "00000001", "00000002")
    np.testing.assert_array_equal(truth.joints, [posed(seed)["regressed"] for seed in range(COUNT)])
    np.testing.assert_array_equal(truth.vertices, [posed(seed)["vertices"] for seed in range(COUNT)])
    np.testing.assert_allclose(truth.joints_2d[2], seen_at(posed(2)["regressed"], K), atol=1e-9)
    assert truth.images[1] == tmp_path / "evaluation" / "rgb" / "00000001.jpg"


def test_evaluation_without_published_truth(root: Path, tmp_path: Path) -> None:
    (tmp_path / "evaluation_K.json").write_bytes((root / "evaluation_K.json").read_bytes())
    write_image(tmp_path / "evaluation" / "rgb" / "00000000.jpg", plain((224, 224)))
    dataset = FreiHand(tmp_path, "evaluation")
    sample = dataset[0]
    check_sample(sample)
    assert sample["K_valid"]
    assert not sample["joints_3d_valid"].any()
    assert not sample["mask_valid"]
    with pytest.raises(HandkitError, match=r"evaluation_xyz.json does not exist"):
        dataset.truth()


def test_errors_name_the_file_and_the_layout(root: Path, tmp_path: Path) -> None:
    with pytest.raises(HandkitError, match="nowhere does not exist") as caught:
        FreiHand(tmp_path / "nowhere")
    assert "training/rgb/00000000.jpg" in caught.value.fix
    with pytest.raises(HandkitError, match=r"training_K.json does not exist"):
        FreiHand(tmp_path, "training")
    with pytest.raises(HandkitError, match="no such split of FreiHAND: 'train'") as caught:
        FreiHand(root, "train")
    assert "did you mean training?" in caught.value.fix
    with pytest.raises(HandkitError, match="no such variant"):
        FreiHand(root, "training", variants=["green"])


def test_files_of_different_lengths(root: Path, tmp_path: Path) -> None:
    for name in ("K", "xyz", "verts"):
        held = json.loads((root / f"evaluation_{name}.json").read_text())
        write_json(tmp_path / f"evaluation_{name}.json", held[: 2 if name == "xyz" else None])
    with pytest.raises(HandkitError, match="different lengths: 2, 3"):
        FreiHand(tmp_path)


@pytest.mark.parametrize("share", [0.3, 0.7, 0.999])
def test_truncated_json(root: Path, tmp_path: Path, share: float) -> None:
    content = (root / "evaluation_verts.json").read_bytes()
    (tmp_path / "evaluation_verts.json").write_bytes(content[: int(share * len(content))])
    for name in ("K", "xyz"):
        (tmp_path / f"evaluation_{name}.json").write_bytes((root / f"evaluation_{name}.json").read_bytes())
    with pytest.raises(HandkitError, match=r"evaluation_verts.json is cut off or damaged: its end is missing"):
        FreiHand(tmp_path)


def test_numbers_in_pieces_are_those_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = np.random.default_rng(0).normal(size=(50, 4, 3))
    for text in (json.dumps(wanted.tolist()), json.dumps(wanted.tolist(), indent=1)):
        (tmp_path / "a.json").write_text(text)
        np.testing.assert_array_equal(read_numbers(tmp_path / "a.json", (4, 3), ""), wanted)
        monkeypatch.setattr(annotations, "_CHUNK", 700)
        np.testing.assert_array_equal(read_numbers(tmp_path / "a.json", (4, 3), ""), wanted)
        monkeypatch.undo()
    (tmp_path / "flat.json").write_text("[1, 2.5, 3]")
    np.testing.assert_array_equal(read_numbers(tmp_path / "flat.json", (), ""), [1, 2.5, 3])


@pytest.mark.parametrize(
    "text", ["", "{}", "[[[1,2,3]]]", "[[1,2,3],[4,5,6]]", '[[[1,2,"x"],[1,2,3]]]', "[[[1,2,3],[1,2]]]"]
)
def test_what_is_no_list_of_points_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(HandkitError, match=r"a.json is cut off or damaged"):
        read_numbers(tmp_path / "a.json", (2, 3), "")


def test_real_poses_and_pictures(realdata: Path, tmp_path: Path) -> None:
    """Published joints read back exactly, and recoloured pictures go with the pose of the same green screen."""
    held = json.loads((realdata / "ground_truth_3d.json").read_text())["samples"]
    poses = [sample["joints_cam_m"] for sample in held if sample["id"].startswith("freihand-train/")]
    assert len(poses) == 50
    rest = 32560 - len(poses)
    for name, real in (("K", [K.tolist()] * 50), ("xyz", poses)):
        texts = [json.dumps(each) for each in real]
        (tmp_path / f"training_{name}.json").write_text(f"[{', '.join(texts + texts[:1] * rest)}]")
    folder = realdata / "annotated" / "mmpose_freihand"
    entries = {entry["id"]: entry for entry in json.loads((folder / "test_freihand.json").read_text())["annotations"]}
    (tmp_path / "training" / "rgb").mkdir(parents=True)
    for number in entries:
        (tmp_path / "training" / "rgb" / f"{number:08d}.jpg").symlink_to(folder / f"{number:08d}.jpg")
    dataset = FreiHand(tmp_path, "training", vertices=False)
    assert len(dataset) == 130240
    np.testing.assert_array_equal(dataset.truth().joints[32560 : 32560 + 50], poses)
    for number, entry in entries.items():
        row = number % 32560
        write_image(tmp_path / "training" / "mask" / f"{row:08d}.jpg", plain((224, 224)))
        sample = dataset[number]
        check_sample(sample)
        assert sample["name"] == f"{number:08d}"
        assert entry["keypoints"] == entries[row]["keypoints"]
