"""Camera tracks: hands in frame, the published rates, views as they are called, nothing left to chance."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from handkit.hand import load_hand
from handkit.synth.camera import MARGIN, CameraTrack, project_orthographic, sample_camera

SIZE = 224
HAND = load_hand("open").v_template


def moving(seed: int, frames: int) -> np.ndarray:
    """A hand that changes its size and stretches while it moves [T, 778, 3]."""
    rng = np.random.default_rng(seed)
    ends = rng.uniform(0.6, 1.4, (2, 1, 3))
    share = np.linspace(0, 1, frames)[:, None, None]
    return HAND * (ends[0] + share * (ends[1] - ends[0]))


def track(seed: int, vertices: np.ndarray, **options: object) -> CameraTrack:
    chosen = {"size": SIZE, "recipe": "paper", "alpha": 1.2, **options}
    return sample_camera(np.random.default_rng(seed), vertices, **chosen)


def shown(found: CameraTrack, vertices: np.ndarray) -> np.ndarray:
    turned = vertices @ Rotation.from_rotvec(found.r).as_matrix().transpose(0, 2, 1)
    return project_orthographic(turned, found.s, found.t)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1, 2, 10, 25]), st.sampled_from(["paper", "released"]))
def test_hands_stay_in_frame(seed: int, frames: int, recipe: str) -> None:
    vertices = moving(seed, frames)
    found = track(seed, vertices, recipe=recipe)
    points = shown(found, vertices)[..., :2]
    assert points.min() >= MARGIN * SIZE - 1e-6
    assert points.max() <= SIZE - MARGIN * SIZE + 1e-6
    extent = (points[0].max(0) - points[0].min(0)).max()
    assert SIZE / 4 < extent <= SIZE / 1.7 + 1e-6
    assert found.r.shape == (frames, 3)
    assert found.s.shape == (frames,)
    assert found.t.shape == (frames, 2)


def test_out_of_frame_only_on_request() -> None:
    outside = 0
    for seed in range(40):
        points = shown(track(seed, moving(seed, 5), in_frame=False), moving(seed, 5))[..., :2]
        outside += bool(points.min() < 0 or points.max() > SIZE)
    assert 10 < outside < 40


def test_paper_goes_the_share_alpha_over_n_of_the_way() -> None:
    for seed in range(20):
        found = track(seed, np.repeat(HAND[None], 10, 0))
        for values in (found.s[:, None], found.t):
            steps = np.diff(values, axis=0)
            np.testing.assert_allclose(steps[1:], steps[:-1] * (1 - 1.2 / 10), atol=1e-9)
        turns = Rotation.from_rotvec(found.r)
        steps = (turns[:-1].inv() * turns[1:]).as_rotvec()
        np.testing.assert_allclose(steps[1:], steps[:-1] * (1 - 1.2 / 10), atol=1e-9)


def test_released_rates() -> None:
    rates = set()
    for seed in range(20):
        found = track(seed, np.repeat(HAND[None], 10, 0), recipe="released")
        for values, rate in ((found.s[:, None], 0.5), (found.t, 0.2)):
            steps = np.diff(values, axis=0)
            np.testing.assert_allclose(steps[1:], steps[:-1] * (1 - rate / 10), atol=1e-9)
        turns = Rotation.from_rotvec(found.r) * Rotation.from_rotvec([np.pi, 0, 0]).inv()
        steps = np.diff(turns.as_rotvec(), axis=0)
        if np.linalg.norm(turns.as_rotvec(), axis=1).max() < 3.1:  # else the values wrap
            share = 1 - (steps[1:] * steps[:-1]).sum(1) / (steps[:-1] ** 2).sum(1)
            assert np.ptp(share) < 1e-6
            assert 0 <= share[0] * 10 <= 0.6
            rates.add(round(share[0], 6))
    assert len(rates) > 10


def test_views() -> None:
    views = {"egocentric": [], "third-person": []}
    for seed in range(400):
        found = track(seed, HAND[None])
        views[found.view].append(Rotation.from_rotvec(found.r[0]).as_matrix())
    assert 160 < len(views["egocentric"]) < 240
    fingers, palm = (np.array(views["egocentric"]) @ axis for axis in ([-1.0, 0, 0], [0.0, -1, 0]))
    # Up in the image and away from the camera; the palm mostly away from it.
    assert (fingers[:, 1] < 0).mean() > 0.97
    assert (fingers[:, 2] > 0).all()
    assert 0.55 < (palm[:, 2] > 0).mean() < 0.85
    others = np.array(views["third-person"]) @ [-1.0, 0, 0]
    assert 0.2 < (others[:, 1] < 0).mean() < 0.8
    assert (others[:, 2] < -0.5).mean() > 0.05


def test_right_hand_from_behind_has_its_thumb_on_the_left() -> None:
    for seed in range(60):
        found = track(seed, HAND[None])
        turn = Rotation.from_rotvec(found.r[0]).as_matrix()
        if found.view == "egocentric" and (turn @ [0, -1.0, 0])[2] > 0.8:
            assert (turn @ [0, 0, 1.0])[0] < 0


@pytest.mark.parametrize("recipe", ["paper", "released"])
def test_same_generator_same_track(recipe: str) -> None:
    a, b, c = (track(seed, moving(1, 10), recipe=recipe) for seed in (5, 5, 6))
    np.testing.assert_array_equal(a.r, b.r)
    np.testing.assert_array_equal(a.t, b.t)
    np.testing.assert_array_equal(a.s, b.s)
    assert not np.allclose(a.t, c.t)
