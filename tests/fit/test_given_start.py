"""A fit that is told where to start."""

import numpy as np
import pytest
import torch

from handkit.fit import FitStart, fit_images, fit_joints, fit_track
from handkit.fit.fitting import _pose_of
from handkit.fit.start import PALM
from handkit.geometry import compose_axis_angle
from handkit.hand import load_hand

from .hands import K, known_hands, moving_hand


def start_of(known):
    return FitStart(*(known[name].float() for name in ("orient", "pose", "transl")))


def seen(known, count):
    """The palm's keypoints: nearly a plane, which a picture may show from either of two directions."""
    scores = np.zeros((count, 21))
    scores[:, list(PALM)] = 1
    return {"keypoints_2d": known["points"], "keypoint_scores": scores, "K": np.repeat(K[None], count, 0)}


def palm_error_mm(found, known):
    pred, truth = (np.asarray(x)[:, list(PALM)] - np.asarray(x)[:, :1] for x in (found.joints, known["joints"]))
    return 1000 * np.linalg.norm(pred - truth, axis=-1).mean(-1)


@pytest.mark.parametrize("side", ["right", "left"])
def test_what_the_palm_alone_leaves_open_is_read_as_the_start_says(side):
    known = known_hands(24, seed=3, side=side, shape_scale=0.0)
    evidence = {**seen(known, 24), "is_right": side == "right"}
    alone, told = (palm_error_mm(fit_images(**evidence, start=one), known) for one in (None, start_of(known)))
    assert alone.max() > 30, "the palm's two readings were not mixed up without a start either"
    assert told.max() < 8


def test_a_start_of_either_side_is_the_same_hand_to_the_fit():
    known = known_hands(5)
    flip, mirror = (torch.tensor(signs, dtype=torch.float64) for signs in ([1.0, -1, -1], [-1.0, 1, 1]))
    mirrored = {
        "orient": known["orient"] * flip,
        "pose": (known["pose"].unflatten(-1, (15, 3)) * flip).flatten(-2),
        "transl": known["transl"] * mirror,
    }
    right, left = _pose_of(load_hand("open"), start_of(known)), _pose_of(load_hand("open", "left"), start_of(mirrored))
    for one, other in zip(right, left, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0)
    torch.testing.assert_close(right.angles, known["angles"], atol=1e-5, rtol=0)


def test_a_track_starts_from_what_each_frame_is_given():
    known = moving_hand(12)
    truth = fit_joints(torch.tensor(known["joints"]))
    evidence = {**seen(known, 12), "time_s": known["time_s"]}
    tipped = compose_axis_angle(truth.global_orient, torch.tensor([np.pi, 0, 0]).float().expand(12, 3))
    right, wrong = (
        palm_error_mm(fit_track(**evidence, start=FitStart(orient, truth.hand_pose, truth.transl)), known)
        for orient in (truth.global_orient, tipped)
    )
    assert right.max() < 8
    assert wrong.min() > 20, "where the frames start changes nothing"
