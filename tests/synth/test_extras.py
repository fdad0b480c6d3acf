"""Forearms, sleeves, occluders, the wrist's cap and shared normals."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from handkit.hand.layer import ManoLayer
from handkit.hand.limits import angles_to_pose, joint_frames, sample_angles
from handkit.hand.model import HandModel, load_hand
from handkit.labels import FOREARM, HAND, OCCLUDER
from handkit.synth.appearance import Appearance, templates
from handkit.synth.extras import ExtraMesh, cap_faces, palm_motion, wrist_ring
from handkit.synth.forearm import sample_forearm
from handkit.synth.occluders import MAX_HIDDEN, hidden_share, sample_occluder
from handkit.synth.skin_layers import paint_surfaces

FRAMES = 4


class Moving:
    """A hand that turns while its fingers move: vertices [T, 778, 3], joints [T, 21, 3], rotations [T, 3, 3]."""

    def __init__(self, seed: int, side: str = "right") -> None:
        rng = np.random.default_rng(seed)
        self.hand: HandModel = load_hand("open", "left" if side == "left" else "right")
        ends = sample_angles(2, rng)
        share = np.linspace(0, 1, FRAMES)[:, None, None]
        angles = torch.from_numpy(ends[:1] + share * (ends[1:] - ends[:1]))
        betas = torch.from_numpy(np.tile(rng.uniform(-2, 2, 10), (FRAMES, 1)))
        start = Rotation.random(random_state=int(rng.integers(2**31)))
        turns = Rotation.from_rotvec(rng.normal(0, 0.4, 3) * share[:, 0]) * start
        posed = ManoLayer(self.hand)(hand_pose=angles_to_pose(angles, joint_frames(self.hand)), betas=betas)
        self.rotation = turns.as_matrix()
        back = self.rotation.swapaxes(1, 2)
        self.vertices = (posed.vertices.numpy() @ back).astype(np.float32)
        self.joints = (posed.joints.numpy() @ back).astype(np.float32)


def edge_counts(faces: np.ndarray) -> dict[tuple[int, int], int]:
    counts: dict[tuple[int, int], int] = {}
    for a, b in faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2).tolist():
        counts[a, b] = counts.get((a, b), 0) + 1
    return counts


def signed_volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    a, b, c = (vertices[faces[:, k]].astype(float) for k in range(3))
    return float(np.einsum("fc,fc->f", a, np.cross(b, c)).sum() / 6)


@pytest.mark.parametrize("side", ["right", "left"])
def test_the_cap_closes_the_wrist(side: str) -> None:
    hand = Moving(0, side).hand
    faces = np.concatenate([hand.faces, cap_faces(hand)])
    counts = edge_counts(faces)
    assert set(counts.values()) == {1}
    assert all((b, a) in counts for a, b in counts)
    assert signed_volume(hand.v_template, faces) > 0


def test_another_order_of_vertices_gets_a_fan() -> None:
    hand = load_hand("open")
    ring = wrist_ring(hand)
    shuffled = np.arange(778)
    shuffled[ring] = np.roll(ring, 3)  # the same rim, numbered otherwise
    faces = shuffled[hand.faces]
    vertices = np.empty_like(hand.v_template)
    vertices[shuffled] = hand.v_template
    other = HandModel(**{**vars(hand), "faces": faces, "v_template": vertices})
    counts = edge_counts(np.concatenate([faces, cap_faces(other)]))
    assert all((b, a) in counts for a, b in counts)


def test_palm_motion_is_the_hands_rotation() -> None:
    moving = Moving(1)
    rotation, _ = palm_motion(moving.vertices, moving.hand)
    apart = Rotation.from_matrix(moving.rotation.swapaxes(1, 2) @ rotation).magnitude()
    assert np.degrees(apart).max() < 8  # the shape differs from the mean one
    assert np.degrees(apart).std() < 0.5


@pytest.mark.parametrize("kind", ["bare", "sleeve"])
@pytest.mark.parametrize("side", ["right", "left"])
def test_forearms_go_on_from_the_rim(kind: str, side: str) -> None:
    moving = Moving(2, side)
    colors = templates().colors[17]
    arm = sample_forearm(
        np.random.default_rng(5), moving.vertices, moving.hand, kind="bare" if kind == "bare" else "sleeve",
        skin_colors=colors,
    )  # fmt: skip
    assert arm.label == FOREARM
    assert arm.vertices.dtype == np.float32
    ring = wrist_ring(moving.hand)
    own, theirs = arm.seam.T
    np.testing.assert_array_equal(np.sort(theirs), np.sort(ring))
    np.testing.assert_array_equal(arm.vertices[:, own], moving.vertices[:, theirs])
    np.testing.assert_allclose(arm.colors[own], colors[theirs], atol=1e-6)
    # together a closed surface, outward: no edge of the hand's is left open
    joined = np.arange(arm.vertices.shape[1]) + 778
    joined[own] = theirs
    counts = edge_counts(np.concatenate([moving.hand.faces, joined[arm.faces]]))
    assert all((int(b), int(a)) in counts for a, b in zip(ring, np.roll(ring, -1), strict=True))
    if kind == "bare":
        assert all((b, a) in counts for a, b in counts)
        whole = np.concatenate([moving.vertices[0], arm.vertices[0]])
        assert signed_volume(whole, np.concatenate([moving.hand.faces, joined[arm.faces]])) > 3e-4


def test_forearms_move_with_the_hand_and_keep_their_bulk() -> None:
    moving = Moving(3)
    arm = sample_forearm(
        np.random.default_rng(1), moving.vertices, moving.hand, kind="bare", skin_colors=templates().colors[0]
    )
    centre = moving.vertices[:, wrist_ring(moving.hand)].mean(1)
    axis = arm.vertices[:, -1] - centre
    length = np.linalg.norm(axis, axis=1)
    assert np.all((length > 0.3) & (length < 0.45))
    bend = np.degrees(np.arccos((axis / length[:, None] * moving.rotation[:, :, 0]).sum(1)))
    assert bend.max() < 45
    assert np.abs(np.diff(bend)).max() < 15
    sections = arm.vertices[:, :-1].reshape(FRAMES, -1, 16, 3)
    girth = np.linalg.norm(np.roll(sections, -1, axis=2) - sections, axis=-1).sum(-1)
    assert np.all(girth[:, -1] > 1.2 * girth[:, 0])
    np.testing.assert_allclose(girth[:, -1], girth[0, -1], rtol=0.03)


def test_both_sides_of_the_seam_have_one_normal() -> None:
    moving = Moving(4)
    arm = sample_forearm(
        np.random.default_rng(1), moving.vertices, moving.hand, kind="bare", skin_colors=templates().colors[0]
    )
    own, other = paint_surfaces(moving.vertices, moving.hand, Appearance(0), [arm])
    here, there = arm.seam.T
    np.testing.assert_allclose(own.normals[:, there], other.normals[:, here], atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(own.normals, axis=-1), 1, atol=1e-9)
    assert (own.label, other.label) == (HAND, FOREARM)
    alone = paint_surfaces(moving.vertices, moving.hand, Appearance(0))[0]
    assert len(alone.faces) == len(own.faces) + len(cap_faces(moving.hand))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", ["front", "held"])
def test_occluders_hide_at_most_half(kind: str, seed: int) -> None:
    moving = Moving(seed)
    thing = sample_occluder(
        np.random.default_rng(seed), moving.vertices, moving.joints, kind="front" if kind == "front" else "held"
    )
    assert thing.label == OCCLUDER
    assert np.isfinite(thing.vertices).all()
    assert signed_volume(thing.vertices[0] - thing.vertices[0].mean(0), thing.faces) > 0
    edges = np.linalg.norm(np.diff(thing.vertices[:, thing.faces[:50, :2]], axis=2), axis=-1)
    np.testing.assert_allclose(edges, edges[:1].repeat(FRAMES, 0), atol=1e-5)  # rigid
    assert 0.01 < np.ptp(thing.vertices[0], axis=0).max() < 0.6
    if kind == "front":
        shares = [
            hidden_share(hand, moving.hand.faces, own, thing.faces)
            for hand, own in zip(moving.vertices, thing.vertices, strict=True)
        ]
        assert max(shares) <= MAX_HIDDEN
        assert thing.vertices[..., 2].max() < moving.vertices[..., 2].min()


@pytest.mark.parametrize("seed", range(6))
def test_held_things_stay_with_the_palm_outside_the_hand(seed: int) -> None:
    moving = Moving(seed)
    thing = sample_occluder(np.random.default_rng(seed), moving.vertices, moving.joints, kind="held")
    knuckles = moving.joints[:, [5, 9, 13, 17]].mean(1)
    local = np.einsum("tvi,tij->tvj", thing.vertices - knuckles[:, None], moving.rotation)
    np.testing.assert_allclose(local, local[:1].repeat(FRAMES, 0), atol=2e-3)
    assert local[0].mean(0)[1] < 0  # on the palm's side
    assert np.linalg.norm(local[0].mean(0)) < 0.07


def test_extras_follow_from_the_generator_alone() -> None:
    moving = Moving(5)

    def draw() -> list[ExtraMesh]:
        rng = np.random.default_rng((3, 1, 4))
        arm = sample_forearm(rng, moving.vertices, moving.hand, kind="sleeve", skin_colors=templates().colors[9])
        return [arm, sample_occluder(rng, moving.vertices, moving.joints, kind="held")]

    for one, other in zip(draw(), draw(), strict=True):
        np.testing.assert_array_equal(one.vertices, other.vertices)
        np.testing.assert_array_equal(one.colors, other.colors)
