"""Files of gathered pairs written directly: their order, what a sample holds, and what is no such file."""

import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handkit.data.gathered_pairs import GatheredPairs
from handkit.data.pair_counts import NO_MATCH, ONE_VIEW, PairCounts
from handkit.data.sample import check_sample, collate
from handkit.errors import HandkitError
from tests.data.patches import PATCH_PX, K, patch, write_hands

RIGHT_FROM_LEFT = [[1.0, 0, 0, -0.06], [0, 1, 0, 0], [0, 0, 1, 0.01]]


def write_pairs(path: Path, hands: Sequence[tuple[str, int]], *, is_right: bool = True, **card: Any) -> GatheredPairs:
    """A file of these (sequence, frame), each pair's left patch a little larger in focal length than its right one."""
    patches = []
    for sequence, frame in hands:
        name = f"{sequence or 'still'}_{frame}"
        for side, K_view in (("left", K * [[1.1], [1.1], [1]]), ("right", K)):
            known = {"sequence": sequence, "frame": frame, "is_right": is_right, "seed": frame, "with_truth": False}
            patches.append(replace(patch(f"{name}.{side}", **known), K=K_view))
    counts = PairCounts(pictures=9, found_left=8, found_right=7, usable=len(hands))
    own = {"kind": "pairs", "how": "rectified", "unit_m": 0.03, "right_from_left": RIGHT_FROM_LEFT}
    return GatheredPairs(write_hands(path, patches, **{**own, "counts": counts.to_card(), **card}))


def test_hand_by_hand_in_order_of_time(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "a.pairs", [("b/1", 0), ("a/0", 7), ("b/1", 2), ("a/0", 3), ("", 4), ("", 1)])
    assert len(pairs) == 6
    assert pairs.sequences.tolist() == [0, 0, 1, 1, 2, 3]
    assert pairs.frames.tolist() == [0, 2, 3, 7, 4, 1]
    np.testing.assert_allclose(pairs.times_s, pairs.frames / 30)
    for n, name in enumerate(["b/1_0", "b/1_2", "a/0_3", "a/0_7", "still_4", "still_1"]):
        sample = pairs[n]
        for side in ("left", "right"):
            view = sample[side]  # type: ignore[literal-required]
            check_sample(view)
            assert view["name"] == f"{name}.{side}"
            assert int(view["frame"]) == pairs.frames[n]
            assert not view["joints_3d_valid"].any()
        assert sample["left"]["K"][0, 0] == pytest.approx(165)
        assert sample["right"]["K"][0, 0] == pytest.approx(150)
        np.testing.assert_allclose(sample["right_from_left"], RIGHT_FROM_LEFT, atol=1e-7)
    with pytest.raises(IndexError):
        pairs[6]
    with pytest.raises(IndexError):
        pairs[-1]


def test_samples_make_batches_and_files_travel(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "a.pairs", [("a/0", n) for n in range(3)], is_right=False)
    pairs[0]["right_from_left"][:] = 0  # the sample's own
    stored = pickle.dumps(pairs)
    assert len(stored) < 500
    again = pickle.loads(stored)
    batch = collate([again[0], again[2]])
    assert batch["left"]["image"].shape == (2, 3, PATCH_PX, PATCH_PX)
    assert batch["right_from_left"].shape == (2, 3, 4)
    assert float(batch["right_from_left"][0, 0, 3]) == pytest.approx(-0.06)
    assert not batch["right"]["is_right"].any()


def test_what_is_said(tmp_path: Path) -> None:
    counts = PairCounts(usable=1)
    counts.add_pictures(2, 1)
    counts.left_out[NO_MATCH] -= 1
    counts.errors.append(HandkitError("b.png is damaged", "copy it again"))
    pairs = write_pairs(tmp_path / "a.pairs", [("a/0", 0)], counts=counts.to_card())
    found = pairs.to_json()
    assert (found["name"], found["views"], found["unit_m"]) == ("clips", "rectified", 0.03)
    assert found["baseline_m"] == pytest.approx(np.hypot(0.06, 0.01))
    assert {why: count for why, count in found["left_out"].items() if count} == {ONE_VIEW: 1}
    assert len(found["left_out"]) == 8
    assert pairs.lines() == [
        "clips: 1 pairs of pictures, 2 and 1 hands found, 1 of both usable (1 seen by one camera only)",
        "clips: views rectified, 61 mm apart, 1 sequences",
    ]
    assert [error.fix for error in pairs.counts.errors] == ["copy it again"]


@pytest.mark.parametrize(("left", "right"), [(0, 0), (1, 0), (0, 2), (2, 2), (3, 1)])
def test_every_hand_is_counted_once(left: int, right: int) -> None:
    counts = PairCounts()
    counts.add_pictures(left, right)
    assert 2 * counts.left_out[NO_MATCH] + counts.left_out[ONE_VIEW] == left + right
    names = {"no hand in either view", "no hand in the left view", "no hand in the right view"}
    assert sum(counts.left_out[name] for name in names) == (0 if left and right else 1)


def test_files_of_another_kind(tmp_path: Path) -> None:
    hands = write_hands(tmp_path / "a.patches", [patch("a"), patch("b")])
    with pytest.raises(HandkitError, match="holds hands, not pairs of views of them"):
        GatheredPairs(hands)
    with pytest.raises(HandkitError, match="no file of patches, or damaged"):
        GatheredPairs(tmp_path / "none.pairs")
    path = write_pairs(tmp_path / "b.pairs", [("a/0", 0)]).path
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(HandkitError, match="no file of patches, or damaged"):
        GatheredPairs(path)
    odd = write_hands(tmp_path / "odd.pairs", [patch("a")], kind="pairs")
    with pytest.raises(HandkitError, match="not pairs of views"):
        GatheredPairs(odd)


def test_a_damaged_patch_is_said(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "a.pairs", [("a/0", 0), ("a/0", 1)])
    content = pairs.path.read_bytes()
    jpeg = content.index(b"\xff\xd8\xff")
    third = content.index(b"\xff\xd8\xff", content.index(b"\xff\xd8\xff", jpeg + 3) + 3)
    pairs.path.with_name("b.pairs").write_bytes(content[:third] + bytes(40) + content[third + 40 :])
    damaged = GatheredPairs(pairs.path.with_name("b.pairs"))
    check_sample(damaged[0]["left"])
    with pytest.raises(HandkitError, match=r"b\.pairs: the picture of row 2 is damaged"):
        damaged[1]
