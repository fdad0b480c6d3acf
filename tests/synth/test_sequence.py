"""Sequences: what is recorded agrees with itself and with the pictures, whichever way it is made."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch.utils.data import DataLoader

from handkit.errors import HandkitError
from handkit.hand.layer import ManoLayer
from handkit.hand.model import load_hand
from handkit.labels import BACKGROUND, FOREARM, HAND, OCCLUDER
from handkit.render.hard import rasterize
from handkit.synth.poses import PoseBank
from handkit.synth.sequence import HandSequence, SequenceMaker, arm_lean_deg
from handkit.synth.stream import PaintedSequences, SyntheticSequences
from tests.synth.seqhand import small_job, small_maker

ALONE = ("forearm.bare=0", "forearm.sleeve=0", "occluders.front=0", "occluders.held=0")
ALL_EXTRAS = ("occluders.front=0.5", "occluders.held=0.5")


def hand_masks(maker: SequenceMaker, sequence: HandSequence) -> np.ndarray:
    """The recorded mesh under the recorded camera, by the reference rasteriser [T,H,W]."""
    size = maker.recipe.size
    masks = []
    for vertices, s, t in zip(sequence.vertices, sequence.s, sequence.t, strict=True):
        exact = vertices.astype(np.float64)
        # The reference wants positive depths; under this camera they change no outline.
        points = np.column_stack([np.float64(s) * exact[:, :2] + t.astype(np.float64), exact[:, 2] + 10])
        masks.append(rasterize(points, maker.hand.faces, size=(size, size)).face_ids >= 0)
    return np.array(masks)


@pytest.mark.parametrize("theta", [10, 45])
def test_recorded_parameters_rebuild_vertices_and_joints(theta: int) -> None:
    maker = small_maker(f"theta={theta}")
    for sequence in maker.annotate_many(range(6)):
        pca = {"num_pca": 10, "flat_hand_mean": False} if theta == 10 else {}
        theta_recorded, beta = torch.from_numpy(sequence.theta), torch.from_numpy(sequence.beta)
        posed = ManoLayer(load_hand("open"), **pca)(hand_pose=theta_recorded, betas=beta)
        turn = Rotation.from_rotvec(sequence.r).as_matrix()
        for points, recorded in ((posed.vertices, sequence.vertices), (posed.joints, sequence.joints_3d)):
            rebuilt = np.einsum("tij,tvj->tvi", turn, points.numpy())
            assert np.abs(rebuilt - recorded).max() < 1e-5
        projected = sequence.s[:, None, None] * sequence.joints_3d[..., :2] + sequence.t[:, None]
        assert np.abs(projected - sequence.joints_2d).max() < 0.05


def test_records_are_float32_and_one_shape_and_look_serve_a_sequence() -> None:
    maker = small_maker()
    shapes = set()
    for sequence in maker.annotate_many(range(6)):
        arrays = sequence.annotations()
        assert {array.dtype for name, array in arrays.items() if name != "is_right"} == {np.dtype(np.float32)}
        assert arrays["is_right"].dtype == bool
        assert arrays["is_right"].all()
        assert all(len(array) == 3 for array in arrays.values())
        assert (sequence.beta == sequence.beta[0]).all()
        assert (np.abs(sequence.beta) <= 2).all()
        shapes.add(sequence.beta[0, 0])
        assert np.linalg.norm(np.diff(sequence.joints_2d, axis=0), axis=-1).max() > 0.5  # it moves
    assert len(shapes) == 6


def test_masks_are_the_projected_mesh() -> None:
    maker = small_maker(*ALONE)
    for sequence in maker.annotate_many(range(8)):
        _, masks = maker.render(sequence)
        assert set(np.unique(masks)) == {BACKGROUND, HAND}
        assert np.array_equal(masks == HAND, hand_masks(maker, sequence))


def test_forearms_and_occluders_hide_but_never_add_to_the_hand() -> None:
    maker = small_maker(*ALL_EXTRAS)
    seen = set()
    for sequence in maker.annotate_many(range(8)):
        _, masks = maker.render(sequence)
        alone = hand_masks(maker, sequence)
        assert not ((masks == HAND) & ~alone).any()
        assert np.isin(masks[alone & (masks != HAND)], (FOREARM, OCCLUDER)).all()
        assert (masks == HAND).sum() > 0.3 * alone.sum()
        seen |= {sequence.forearm, sequence.occluder, *np.unique(masks)}
    assert seen == {"bare", "sleeve", "front", "held", BACKGROUND, FOREARM, OCCLUDER, HAND}


def test_hands_stay_in_frame_unless_asked_otherwise() -> None:
    maker = small_maker("frames=10")
    for sequence in maker.annotate_many(range(20)):
        pixels = sequence.s[:, None, None] * sequence.vertices[..., :2] + sequence.t[:, None]
        assert pixels.min() > 0
        assert pixels.max() < 96
    loose = small_maker("frames=10", "camera.in_frame=false")
    pixels = [s.s[:, None, None] * s.vertices[..., :2] + s.t[:, None] for s in loose.annotate_many(range(20))]
    assert min(p.min() for p in pixels) < 0


def test_arms_do_not_lean_into_the_picture() -> None:
    maker = small_maker()
    drawn = list(maker.annotate_many(range(60)))
    assert max(arm_lean_deg(sequence.r, maker.hand).max() for sequence in drawn) <= 40.01
    assert 15 <= sum(sequence.view == "egocentric" for sequence in drawn) <= 45
    free = small_maker("camera.arm_lean_deg=off").annotate_many(range(60))
    assert max(arm_lean_deg(sequence.r, maker.hand).max() for sequence in free) > 60
    # A rotation that takes the arm's direction, +x at rest, to the camera's side, -z.
    towards = np.array([[0.0, np.pi / 2, 0.0]])
    assert arm_lean_deg(towards, maker.hand) == pytest.approx([90])


def test_hands_do_not_freeze() -> None:
    still = {}
    for limit in ("0.34", "off"):
        drawn = small_maker("frames=10", f"flow.max_still={limit}").annotate_many(range(40))
        still[limit] = [(np.diff(sequence.pose_index) == 0).mean() for sequence in drawn]
    assert max(still["0.34"]) <= 0.34
    assert max(still["off"]) > 0.34
    moving = [index for index in range(40) if still["off"][index] <= 0.34]
    assert [still["0.34"][index] for index in moving] == [still["off"][index] for index in moving]


def test_a_sequence_depends_on_its_number_alone() -> None:
    maker = small_maker()
    together = list(maker.annotate_many([5, 2, 9]))
    for sequence in together:
        again = maker.annotate(sequence.index)
        for name, values in again.annotations().items():
            assert np.array_equal(values, sequence.annotations()[name]), name
        for one, other in zip(maker.render(sequence), maker.render(again), strict=True):
            assert np.array_equal(one, other)
    for other in (small_maker(seed=1), small_maker(split="val")):
        assert not np.array_equal(other.annotate(5).theta, together[0].theta)


def test_looks_do_not_change_what_is_annotated() -> None:
    plain = small_maker(*ALONE, "shading=false").annotate(3)
    rich = small_maker(*ALL_EXTRAS, "image_format=png").annotate(3)
    for name, values in plain.annotations().items():
        assert np.array_equal(values, rich.annotations()[name]), name
    assert plain.appearance.light is None
    assert rich.appearance.light is not None


@pytest.mark.parametrize("recipe", ["seqhand-published", "seqhand-released"])
def test_published_recipes(recipe: str) -> None:
    maker = small_maker(recipe=recipe)
    for sequence in maker.annotate_many(range(4)):
        images, masks = maker.render(sequence)
        assert sequence.extras == ()
        assert sequence.appearance.light is None
        assert (masks == HAND).any(axis=(1, 2)).all()
        assert images.dtype == np.uint8


def test_a_bank_of_joints_knows_no_poses() -> None:
    known = small_maker().bank
    bank = PoseBank(known.joints, known.kind, known.kinds, None, "joints.npy")
    with pytest.raises(HandkitError, match=r"joints\.npy are joints alone"):
        SequenceMaker(small_maker().recipe, seed=0, split="train", bank=bank, hand=load_hand("open"))


def test_stream_yields_what_the_maker_makes_shared_out_over_ranks() -> None:
    maker, recipe = small_maker(), small_job().recipe
    ranks = [SyntheticSequences(recipe=recipe, sequences=7, rank=rank, ranks=2, maker=maker) for rank in range(2)]
    samples = {int(sample["sequence"][0]): sample for stream in ranks for sample in stream}
    assert sorted(samples) == list(range(7))
    assert [sample["sequence"][0] for sample in ranks[1]] == ["000001", "000003", "000005"]
    sequence = maker.annotate(4)
    images, labels = maker.render(sequence)
    assert np.array_equal(samples[4]["image"], images.transpose(0, 3, 1, 2))
    assert np.array_equal(samples[4]["mask"], labels == HAND)
    names = {"theta": "pca", "beta": "betas", "r": "global_orient", "s": "weak_scale", "t": "weak_transl"}
    for name, values in sequence.annotations().items():
        assert np.array_equal(samples[4][names.get(name, name)], values), name
    endless = iter(SyntheticSequences(recipe=recipe, first=20, maker=maker))
    assert [next(endless)["sequence"][0] for _ in range(3)] == ["000020", "000021", "000022"]


def test_workers_of_a_loader_share_the_numbers_out() -> None:
    stream = SyntheticSequences(recipe=small_job().recipe, sequences=7, rank=1, ranks=2, maker=small_maker())
    # Forked workers keep the loaded sources of their own copy.
    loader = DataLoader(stream, batch_size=None, num_workers=2, multiprocessing_context="fork")
    assert sorted(sample["sequence"][0] for sample in loader) == ["000001", "000003", "000005"]


@pytest.mark.parametrize("recipe", ["seqhand", "seqhand-published"])
def test_painting_on_a_device_gives_the_same_sequences(recipe: str) -> None:
    maker = small_maker(*ALL_EXTRAS[: 2 * (recipe == "seqhand")], recipe=recipe)
    stream = SyntheticSequences(recipe=small_job(recipe=recipe).recipe, sequences=7, maker=maker)
    batches = list(PaintedSequences(stream, device="cpu", batch=4))
    assert [batch["image"].shape for batch in batches] == [(4, 3, 3, 96, 96), (3, 3, 3, 96, 96)]
    for sample, (batch, row) in zip(stream, [(b, row) for b in batches for row in range(len(b["image"]))], strict=True):
        for key, value in sample.items():
            if key in ("image", "mask") or isinstance(value, list):
                continue
            assert np.array_equal(batch[key][row], value), key
        assert np.array_equal(batch["mask"][row], sample["mask"])
        off = np.abs(batch["image"][row].numpy().astype(int) - sample["image"])
        noise = 255 * maker.annotate(int(sample["sequence"][0])).appearance.noise
        assert off.mean() < 1 + 1.5 * noise


def test_drawing_leaves_the_reader_its_gradients_and_threads() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for _ in SyntheticSequences(recipe=small_job().recipe, sequences=2, maker=small_maker()):
            assert torch.is_grad_enabled()
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_the_source_of_a_transfer_is_what_its_recipe_says() -> None:
    maker = small_maker("frames=1", recipe="hand-prior-source")
    assert maker.backgrounds.kind == "patterns"
    for sequence in maker.annotate_many(range(12)):
        assert sequence.monk in (1, 2, 3, 4)
        assert (sequence.appearance.light, sequence.forearm, sequence.occluder) == (None, None, None)
        images, masks = maker.render(sequence)
        assert images.shape == (1, 96, 96, 3)
        assert set(np.unique(masks)) == {BACKGROUND, HAND}


def test_skin_and_background_leave_the_motion_as_it_is() -> None:
    one, other = small_maker().annotate(4), small_maker("skin=[9,10]", "background=photographs").annotate(4)
    for name, values in one.annotations().items():
        np.testing.assert_array_equal(values, other.annotations()[name])
    assert other.monk in (9, 10)
