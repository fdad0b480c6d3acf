import numpy as np
import pytest
import torch

from handkit.data.sample import HandSample, build_sample, check_sample, collate, float_images, stack_samples
from handkit.errors import HandkitError

K = np.array([[300, 0, 20], [0, 300, 16], [0, 0, 1]])
SPREAD = np.random.default_rng(0).uniform((-0.06, -0.06, 0.45), (0.06, 0.06, 0.55), (21, 3))


def sample(**changes: object) -> HandSample:
    known = {"K": K, "joints_3d": SPREAD, "joints_2d": np.ones((21, 2)), "betas": np.zeros(10), **changes}
    return build_sample(np.zeros((3, 32, 40), np.uint8), is_right=True, dataset="set", name="picture 1", **known)


def test_what_is_not_known_is_zeros_and_flagged() -> None:
    bare = build_sample(np.zeros((3, 32, 40), np.uint8), is_right=False, dataset="set", name="a")
    check_sample(bare)
    flags = [key for key in bare if key.endswith("_valid")]
    assert len(flags) == 13
    assert not any(np.any(bare[flag]) for flag in flags)
    assert bare["mask"].shape == (32, 40)
    assert bare["joints_2d_valid"].shape == (21,)
    assert bare["is_right"].shape == ()
    assert not bare["is_right"]


def test_what_is_known_is_flagged_and_converted() -> None:
    found = sample(mask=np.eye(32, 40, dtype=bool), weak_scale=3, weak_transl=[1, 2])
    check_sample(found)
    assert all(found[flag] for flag in ("mask_valid", "weak_valid", "betas_valid", "K_valid"))
    assert found["joints_3d_valid"].all()
    assert not found["vertices_valid"]
    assert (found["mask"].dtype, found["weak_scale"].dtype) == (np.uint8, np.float32)


def test_joints_that_are_missing_alone_become_zeros() -> None:
    valid = np.arange(21) % 4 == 0
    found = sample(joints_3d=np.where(valid[:, None], SPREAD, 32001.0), joints_3d_valid=valid)
    check_sample(found)
    assert not found["joints_3d"][~valid].any()
    np.testing.assert_allclose(found["joints_3d"][valid], SPREAD[valid], rtol=1e-6)


def test_build_refuses_unknown_keys() -> None:
    with pytest.raises(HandkitError, match="no key 'joint_3d'"):
        sample(joint_3d=SPREAD)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("joints_3d", SPREAD.astype(np.float64), "joints_3d is float64, not float32"),
        ("joints_3d", SPREAD[:20].astype(np.float32), r"joints_3d has shape \(20, 3\), not \(21, 3\)"),
        ("joints_3d", (1000 * SPREAD).astype(np.float32), "joints_3d spans .* not a hand in metres"),
        ("joints_3d", (SPREAD - [0, 0, 1]).astype(np.float32), "joints_3d lies behind the camera"),
        ("joints_3d", np.full((21, 3), np.nan, np.float32), "joints_3d holds numbers that are not finite"),
        ("joints_2d", torch.zeros(21, 2), "joints_2d is Tensor, not a numpy array"),
        ("joints_2d_valid", np.zeros(21, bool), "joints_2d is not zero where joints_2d_valid is False"),
        ("vertices", np.ones((778, 3), np.float32), "vertices is not zero where vertices_valid is False"),
        ("image", np.zeros((32, 40, 3), np.uint8), "image has shape"),
        ("mask", np.full((32, 40), 255, np.uint8), "mask is not zero where"),
        ("K", np.ones((3, 3), np.float32), "K is not "),
        ("name", 3, "name is int, not str"),
    ],
)
def test_check_names_the_key_and_what_is_wrong(key: str, value: object, said: str) -> None:
    good = sample()
    check_sample(good)
    with pytest.raises(HandkitError, match=said) as error:
        check_sample({**good, key: value})
    assert str(error.value).startswith("set/")


def test_check_finds_missing_and_foreign_keys_and_masks_of_other_values() -> None:
    good = sample(mask=np.ones((32, 40)))
    with pytest.raises(HandkitError, match="hand_pose is missing"):
        check_sample({key: value for key, value in good.items() if key != "hand_pose"})
    with pytest.raises(HandkitError, match="extra is not in the schema"):
        check_sample({**good, "extra": 1})
    with pytest.raises(HandkitError, match="mask holds 255, not only 0 and 1"):
        check_sample({**good, "mask": good["mask"] * 255})


def test_batches_of_sequences_and_pairs() -> None:
    batch = collate([stack_samples([sample(), sample()]), stack_samples([sample(), sample()])])
    assert batch["image"].shape == (2, 2, 3, 32, 40)
    assert batch["joints_3d_valid"].dtype == torch.bool
    assert batch["name"] == [["picture 1", "picture 1"]] * 2
    assert batch["weak_scale"].shape == batch["K_valid"].shape == (2, 2)
    pairs = collate([{"left": sample(), "right": sample(), "right_from_left": np.eye(3, 4)}] * 3)
    assert pairs["left"]["K"].shape == (3, 3, 3)
    images = float_images(torch.full((2, 3, 4, 4), 255, dtype=torch.uint8))
    assert (images.dtype, images.max()) == (torch.float32, 1)


def test_batches_refuse_pictures_of_different_sizes() -> None:
    other = build_sample(np.zeros((3, 30, 40), np.uint8), is_right=True, dataset="set", name="b")
    with pytest.raises(HandkitError, match="image has different sizes in one batch"):
        collate([sample(), other])
