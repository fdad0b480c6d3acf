"""Predictions find their truth by name or by place, and nothing is matched twice."""

import numpy as np
import pytest

from handkit.data.hands import HandSet
from handkit.errors import HandkitError
from handkit.evaluate.matching import ReadHands, match, match_names, take


def named(*ids: str, scores: list[float] | None = None, is_named: bool = True) -> ReadHands:
    joints = np.arange(len(ids), dtype=float)[:, None, None] + np.zeros((len(ids), 21, 3))
    confidence = None if scores is None else np.array(scores)
    return ReadHands(HandSet(ids=ids, joints=joints, source="file"), is_named, confidence=confidence)


def order_of(pred: HandSet) -> list[float]:
    assert pred.joints is not None
    return pred.joints[:, 0, 0].tolist()


def test_by_name_whatever_the_order() -> None:
    matched = match(named("c.jpg", "a.jpg", "b.jpg"), named("a", "b", "c"))
    assert order_of(matched.pred) == [1, 2, 0]
    assert matched.pred.ids == ("a", "b", "c")


def test_the_highest_score_of_several() -> None:
    matched = match(named("a.jpg", "b.jpg", "a.jpg", "a.jpg", scores=[0.2, 0.5, 0.9, 0.4]), named("a", "b"))
    assert order_of(matched.pred) == [2, 1]


def test_two_predictions_without_scores_are_an_error() -> None:
    with pytest.raises(HandkitError, match=r"'a\.jpg' is predicted twice"):
        match(named("a.jpg", "a.jpg"), named("a", "b"))


def test_missing_and_unused_are_told() -> None:
    matched = match(named("b", "z"), named("a", "b", "c"))
    assert matched.missing == ("a", "c")
    assert matched.unused == 1
    assert np.isnan(order_of(matched.pred)).tolist() == [True, False, True]


def test_no_name_in_common() -> None:
    with pytest.raises(HandkitError, match="no sample in common: x, y against a, b, c"):
        match(named("x", "y"), named("a", "b", "c"))


def test_by_place_lengths_must_agree() -> None:
    assert order_of(match(named("0", "1", is_named=False), named("a", "b")).pred) == [0, 1]
    with pytest.raises(HandkitError, match="file has 2 samples, file has 3"):
        match(named("0", "1", is_named=False), named("a", "b", "c"))


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["evaluation/SM1/rgb/0001.png", "evaluation/SM1/rgb/0000.png"], ["SM1/0000", "SM1/0001"]),
        (["/data/FreiHAND/evaluation/rgb/00000001.jpg", "00000000.jpg"], ["00000000", "00000001"]),
        (["B\\1.png", "A\\1.png"], ["A/1", "B/1"]),
    ],
)
def test_folders_and_endings_do_not_matter(names: list[str], wanted: list[str]) -> None:
    assert match_names(names, wanted).tolist() == [1, 0]


def test_names_that_a_loose_reading_would_confuse_are_not_matched() -> None:
    assert match_names(["A/1.png", "B/1.png"], ["1"]).tolist() == [-1]


def test_take_keeps_everything_together() -> None:
    hands = HandSet(ids=("a", "b", "c"), joints=np.arange(3.0)[:, None, None], frames=(5, 6, 7))
    taken = take(hands, np.array([2, 0]))
    assert (taken.ids, taken.frames, order_of(taken)) == (("c", "a"), (7, 5), [2, 0])
