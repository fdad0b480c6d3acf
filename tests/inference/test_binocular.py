"""Lixel networks over both views: crops of any place and scale, how sure a mesh is, and hands that make none."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from handkit.errors import HandkitError
from handkit.hand import ManoLayer, load_hand
from handkit.inference.binocular import APART, NO_DISPARITY, ON_BASELINE, BinocularPredictor, load_binocular
from handkit.inference.keypoints import SeenKeypoints
from handkit.inference.load import BINOCULAR, find_checkpoint
from handkit.inference.looks import Look, square_about_point, square_around_joints
from handkit.inference.views import View
from handkit.nets.lixel import LixelOutput
from tests.demo.two_views import K, toed_in
from tests.inference.making import SIZE, looks_of, small_lixel, write_handnet, write_lixel, write_small

BASELINE = 0.08
BESIDE = np.column_stack([np.eye(3), [-BASELINE, 0, 0]])
RIGS = [
    pytest.param(BESIDE, id="beside"),
    pytest.param(np.column_stack(toed_in(12.0)), id="toed in"),
    pytest.param(np.column_stack(toed_in(60.0, roll=70.0)), id="far apart and rolled"),
]
SQUARES = np.array([[20.0, 10, 220, 210], [-30.0, 0, 330, 360], [100.0, 60, 250, 210]])


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> BinocularPredictor:
    return load_binocular(write_lixel(tmp_path_factory.mktemp("weights") / "net.safetensors"))


class Told(torch.nn.Module):
    """In the network's place: says what it was given, in widths of the crops."""

    def __init__(self, points: np.ndarray) -> None:
        super().__init__()
        self._points, self._told = torch.tensor(points), 0

    def forward(self, images: torch.Tensor) -> LixelOutput:
        first, self._told = self._told, self._told + len(images)
        return LixelOutput(self._points[first : self._told], None)


def look(square: np.ndarray, *, is_right: bool = True) -> Look:
    return Look(np.zeros((SIZE, SIZE, 3), np.uint8), square, is_right)


def view(squares: Sequence[np.ndarray], *, is_right: bool = True) -> View:
    count = len(squares)
    nothing = SeenKeypoints(np.zeros((count, 21, 2)), np.zeros((count, 21)))
    return View([look(square, is_right=is_right) for square in squares], nothing, np.tile(K, (count, 1, 1)))


def meshes(count: int, *, is_right: bool = True, place: Sequence[float] = (0.02, -0.01, 0.45)) -> np.ndarray:
    rng = np.random.default_rng(3)
    layer = ManoLayer(load_hand("open", "right" if is_right else "left"))
    pose = torch.tensor(rng.normal(0, 0.2, (count, 45)), dtype=torch.float32)
    orient = torch.tensor(rng.normal(0, 0.5, (count, 3)), dtype=torch.float32)
    found = layer(global_orient=orient, hand_pose=pose).vertices.numpy().astype(np.float64)
    return found - found.mean(1, keepdims=True) + np.array(place)


def pixels(points: np.ndarray) -> np.ndarray:
    shown = points @ K.T
    return shown[..., :2] / shown[..., 2:]


def widths(points: np.ndarray, squares: np.ndarray, *, is_right: bool = True) -> np.ndarray:
    inside = (points - squares[:, None, :2]) / (squares[:, 2:] - squares[:, :2])[:, None]
    return inside if is_right else inside * [-1, 1] + [1, 0]


def told(
    predictor: BinocularPredictor, right: np.ndarray, left: np.ndarray, squares: np.ndarray, *, is_right: bool = True
) -> BinocularPredictor:
    """A predictor that says these full-image pixels of both views."""
    said = np.concatenate([widths(points, squares, is_right=is_right) for points in (right, left)])
    other = BinocularPredictor(small_lixel(), predictor.info)
    other.network = Told(said)
    return other


@pytest.mark.parametrize("is_right", [True, False])
@pytest.mark.parametrize("rig", RIGS)
def test_true_pixels_are_the_true_mesh(predictor: BinocularPredictor, rig: np.ndarray, is_right: bool) -> None:
    left = meshes(3, is_right=is_right)
    right = left @ rig[:, :3].T + rig[:, 3]
    views = view(SQUARES, is_right=is_right), view(SQUARES[::-1], is_right=is_right)
    both = np.concatenate([widths(pixels(right), SQUARES), widths(pixels(left), SQUARES[::-1])])
    own = BinocularPredictor(small_lixel(), predictor.info)
    own.network = Told(both if is_right else both * [-1, 1] + [1, 0])
    found = own.pair(*views, rig)
    np.testing.assert_allclose(found.vertices.numpy(), right, atol=1e-9)
    assert found.is_right.tolist() == [is_right] * 3
    assert found.valid.tolist() == [True] * 3
    assert float(found.gap_px.max()) < 1e-8


def test_many_looks_are_seen_in_their_order(predictor: BinocularPredictor) -> None:
    """More than are seen at once; those of left hands are mirrored back."""
    looks = [*looks_of(9), *looks_of(9, seed=1, is_right=False)]
    every = predictor.points(looks)
    for number in (0, 8, 9, 17):
        torch.testing.assert_close(every[number], predictor.points([looks[number]])[0], atol=1e-3, rtol=0)
    mirrored = [Look(look.crop, look.square, not look.is_right) for look in looks]
    twice = torch.tensor([look.square[0] + look.square[2] for look in looks])[:, None]
    torch.testing.assert_close(predictor.points(mirrored)[..., 0], twice - every[..., 0])


def test_how_sure_of_a_vertex(predictor: BinocularPredictor) -> None:
    """A pixel of disparity is Z^2 / (f B); the gap is in pixels of the right picture."""
    left = meshes(1)
    right = left + BESIDE[:, 3]
    off = pixels(left) + np.array([0, 3.0])
    found = told(predictor, pixels(right), off, SQUARES[:1]).pair(view(SQUARES[:1]), view(SQUARES[:1]), BESIDE)
    assert float(found.gap_px) == pytest.approx(3)
    depth = np.median(right[0, :, 2])
    assert float(found.px_m) == pytest.approx(depth**2 / (300 * BASELINE), rel=0.02)
    sigma = found.sigma[0].numpy()
    ahead = np.abs(right[0, :, 0]).argsort()[:50]
    ratio = sigma[ahead, 2] / sigma[ahead].min(1)
    np.testing.assert_allclose(ratio, 2**0.5 * right[0, ahead, 2] / BASELINE, rtol=0.1)
    nearer = told(predictor, pixels(right), pixels(left), SQUARES[:1])
    true = nearer.pair(view(SQUARES[:1]), view(SQUARES[:1]), BESIDE)
    assert float((found.sigma / true.sigma).min()) > 5, "a hand whose rays meet is surer"


def test_sigma_goes_along_the_rays_of_hands_aside(predictor: BinocularPredictor) -> None:
    left = meshes(1, place=(0.45, 0.0, 0.45))
    views = view(SQUARES[:1]), view(SQUARES[:1])
    found = told(predictor, pixels(left + BESIDE[:, 3]), pixels(left), SQUARES[:1]).pair(*views, BESIDE)
    x, y, z = found.sigma[0].mean(0).tolist()
    assert x == pytest.approx(z, rel=0.2)
    assert y < x / 5


def test_hands_that_make_no_mesh_are_told_apart(predictor: BinocularPredictor) -> None:
    left = meshes(1)
    right = left + BESIDE[:, 3]
    far = meshes(1, place=(0.0, 0.0, 6.0))
    aside = meshes(1, place=(20.0, 0.0, 0.45))
    cases = [
        (right, left, None),
        (left, right, NO_DISPARITY),
        (left, left, NO_DISPARITY),
        (far + BESIDE[:, 3], far, NO_DISPARITY),
        (aside + BESIDE[:, 3], aside, ON_BASELINE),
    ]
    squares = SQUARES[:1].repeat(len(cases) + 2, 0)
    shown = [(pixels(one)[0], pixels(other)[0]) for one, other, _ in cases]
    # Crops of 200 px: just more and just less than half of one.
    shown += [(pixels(right)[0], pixels(left)[0] + np.array([0, gap])) for gap in (101, 99)]
    wanted = [*(why for *_, why in cases), APART, None]
    own = told(predictor, *(np.stack(side) for side in zip(*shown, strict=True)), squares)
    found = own.pair(view(squares), view(squares), BESIDE)
    assert found.why == wanted
    assert found.valid.tolist() == [why is None for why in wanted]
    assert bool(found.vertices.isfinite().all())
    assert bool((found.sigma > 0).all())
    kept = found.rows(torch.nonzero(found.valid)[:, 0])
    assert (len(kept), kept.why) == (2, [None, None])
    torch.testing.assert_close(kept.vertices[0], found.vertices[0])


@pytest.mark.parametrize(
    ("rig", "said"),
    [
        (np.column_stack([np.eye(3), [-9e-4, 0, 0]]), "stand 0.9 mm apart"),
        (np.column_stack([np.eye(3), np.zeros(3)]), "stand 0 mm apart"),
        (np.column_stack([np.eye(3), [0, 0, -0.1]]), "stands before the other"),
    ],
)
def test_cameras_that_measure_no_depth_are_told(predictor: BinocularPredictor, rig: np.ndarray, said: str) -> None:
    views = View(looks_of(1), SeenKeypoints(np.zeros((1, 21, 2)), np.zeros((1, 21))), K[None])
    with pytest.raises(HandkitError, match=said):
        predictor.pair(views, views, rig)


def test_views_that_disagree_about_sides_are_told(predictor: BinocularPredictor) -> None:
    with pytest.raises(HandkitError, match="a right one in one view and a left one in the other"):
        predictor.pair(view(SQUARES[:1]), view(SQUARES[:1], is_right=False), BESIDE)


def test_squares_are_centred_as_the_checkpoint_learned(tmp_path: Path, predictor: BinocularPredictor) -> None:
    box, points, scores = np.array([10.0, 20, 110, 80]), np.full((21, 2), 30.0), np.ones(21)
    around = square_around_joints(box, 1.5)
    np.testing.assert_array_equal(predictor.square(box, points, scores), around)
    middle = load_binocular(write_lixel(tmp_path / "m.safetensors", centre="middle"))
    square = middle.square(box, points, scores)
    np.testing.assert_allclose((square[:2] + square[2:]) / 2, [30, 30])
    # From the joint to the outline's right edge, 0.115 of the longer side beyond the joints.
    assert square[2] - 30 == pytest.approx(1.5 * (80 + 11.5))
    np.testing.assert_array_equal(middle.square(box, points, np.where(np.arange(21) == 9, 0.0, 1.0)), around)
    np.testing.assert_array_equal(middle.square(box, np.full((21, 2), np.nan), scores), around)
    with pytest.raises(HandkitError, match="is empty"):
        square_about_point(np.array([30.0, 30]), np.array([5.0, 5, 5, 5]))


def test_the_prior_is_taken_without_its_depth(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_lixel(tmp_path / "prior.safetensors", "hand-prior")
    with caplog.at_level(logging.WARNING):
        prior = load_binocular(path)
    assert (prior.is_before, prior.sees) == (True, "both views, before self-supervision")
    assert "handkit selfsup binocular" in caplog.text
    assert (prior.size, prior.box_scale, prior.centre) == (SIZE, 1.5, "box")
    assert bool(prior.points(looks_of(1)).isfinite().all())


def test_other_checkpoints_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path, what in (
        (write_handnet(tmp_path / "handnet.safetensors"), "is a HandNet"),
        (write_small(tmp_path / "seqhand.safetensors"), "is a sequence network"),
        (write_lixel(tmp_path / "x.safetensors", "handnet"), "a lixel network of 'handnet'"),
        (write_lixel(tmp_path / "c.safetensors", centre="wrist"), "crops are centred on 'wrist'"),
        (tmp_path / "none.safetensors", "is no file"),
    ):
        with pytest.raises(HandkitError, match=what):
            load_binocular(path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HANDKIT_WEIGHTS", raising=False)
    with pytest.raises(HandkitError, match=r"no weights binocular\.safetensors") as caught:
        find_checkpoint(None, BINOCULAR)
    assert "handkit selfsup binocular --out DIR" in caught.value.fix
