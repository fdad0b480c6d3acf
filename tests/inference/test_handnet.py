"""What HandNet says of a crop is the same hand in the full image; it is told of keypoints as the crop shows them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from handkit.checkpoint import CheckpointInfo
from handkit.errors import HandkitError
from handkit.fit import HandParameters
from handkit.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle, mirror_axis_angle, ray_from_axis
from handkit.hand import ManoLayer, load_hand
from handkit.hand.weak import WeakPoseLayer, encode_pose
from handkit.inference.handnet import HandNetPredictor, load_handnet_predictor
from handkit.inference.keypoints import SeenKeypoints
from handkit.inference.load import HANDNET, find_checkpoint, load_predictor
from handkit.inference.looks import Look, square_around_joints
from handkit.inference.placing import HandsInImage, hands_about_origin, hands_in_camera, weak_K
from handkit.inference.s2hand import load_s2hand
from handkit.inference.views import View
from handkit.nets.handnet import HandNetOutput
from handkit.nets.heatmaps import keypoint_heatmaps
from tests.inference.making import SIZE, looks_of, small_handnet, write_handnet, write_s2hand, write_small

K = np.array([[890.0, 0, 330], [0, 870, 250], [0, 0, 1]])
HANDS = {True: load_hand("open", "right"), False: load_hand("open", "left")}
MIRROR = np.array([-1.0, 1, 1])


@dataclass(frozen=True)
class Truth:
    """A hand of known parameters before a camera, and the look at it."""

    placed: HandParameters
    look: Look
    K: np.ndarray
    said: np.ndarray
    """48 + 10 + 3: what a perfect network says of the crop."""

    @property
    def joints(self) -> np.ndarray:
        return self.placed.joints[0].numpy()


def pixels(joints: np.ndarray, camera: np.ndarray) -> np.ndarray:
    seen = joints.astype(np.float64) @ camera.T
    return seen[..., :2] / seen[..., 2:]


def place(seed: int, *, is_right: bool, far: float = 1) -> HandParameters:
    """A hand somewhere in the camera's view, often far from its axis."""
    rng = np.random.default_rng(seed)
    depth = far * rng.uniform(0.5, 0.9)
    drawn = {
        "global_orient": rng.normal(0, 1, 3),
        "hand_pose": rng.normal(0, 0.3, 45),
        "betas": rng.normal(0, 0.7, 10),
        "transl": np.array([*(rng.uniform(-0.35, 0.35, 2) * depth / far), depth]),
    }
    given = {name: torch.from_numpy(value)[None].float() for name, value in drawn.items()}
    out = ManoLayer(HANDS[is_right])(**given)
    return HandParameters(**given, joints=out.joints, vertices=out.vertices)


def weak_of(joints: np.ndarray, camera: np.ndarray, *, fitted: bool) -> np.ndarray:
    """Scale (px a metre) and where the wrist is: exact there, or the best for all joints."""
    flat = (joints - joints[0]) @ ray_from_axis(torch.from_numpy(joints[0])).numpy()
    seen = pixels(joints, camera)
    if not fitted:
        return np.array([np.sqrt(camera[0, 0] * camera[1, 1]) / joints[0, 2], *seen[0]])
    centred, target = flat[:, :2] - flat[:, :2].mean(0), seen - seen.mean(0)
    scale = (centred * target).sum() / (centred**2).sum()
    return np.array([scale, *(seen.mean(0) - scale * flat[:, :2].mean(0))])


def truth(seed: int, *, is_right: bool = True, camera: np.ndarray = K, far: float = 1, fitted: bool = False) -> Truth:
    """A seed's hand of either side, and the numbers that say it."""
    return told(place(seed, is_right=is_right, far=far), is_right=is_right, camera=camera, fitted=fitted)


def told(placed: HandParameters, *, is_right: bool, camera: np.ndarray, fitted: bool = False) -> Truth:
    joints = placed.joints[0].numpy().astype(np.float64)
    seen = pixels(joints, camera)
    square = square_around_joints(np.concatenate([seen.min(0), seen.max(0)]), 1.5)
    square = square + 0.06 * (square[2] - square[0])  # the hand is not in the middle
    side, middle = square[2] - square[0], (square[:2] + square[2:]) / 2
    scale, *wrist = weak_of(joints, camera, fitted=fitted)
    shift = (wrist - middle) / side * [1 if is_right else -1, 1]
    wrist_ray = torch.from_numpy(joints[0])
    R = ray_from_axis(wrist_ray).mT @ axis_angle_to_matrix(placed.global_orient[0].double())
    orient, pose = matrix_to_axis_angle(R), placed.hand_pose[0].double()
    if not is_right:
        orient, pose = mirror_axis_angle(orient), mirror_axis_angle(pose.view(15, 3)).flatten()
    numbers = encode_pose(orient, pose, HANDS[True]).numpy()
    look = Look(np.zeros((SIZE, SIZE, 3), np.uint8), square, is_right)
    return Truth(placed, look, camera, np.concatenate([numbers, placed.betas[0], [scale / side], shift]))


class Knows(torch.nn.Module):
    """Says what it is told of the rows in order, and keeps what it was shown."""

    sigma, stereo_views = 0.03, True

    def __init__(self, said: list[np.ndarray], *, inputs: str = "both", weight: float = 0.5) -> None:
        super().__init__()
        self.said = torch.from_numpy(np.stack(said)).float()
        self.inputs, self.weight = inputs, weight
        self.images: list[Any] = []
        self.maps: list[Any] = []
        self.rows = iter(range(10**6))

    def forward(self, images: Any, maps: Any, *, want_mask: bool, pairs: bool = False, **options: Any) -> HandNetOutput:
        self.images.append(images)
        self.maps.append(maps)
        given = maps if images is None else images
        number = len(given)
        said = self.said[[next(self.rows) % len(self.said) for _ in range(number)]]
        pose, betas, camera = said.split([48, 10, 3], 1)
        mask = torch.linspace(-4, 4, SIZE).expand(number, SIZE, SIZE) if want_mask else None
        weights = torch.full((number // 2, 48), self.weight) if pairs else None
        return HandNetOutput(pose, betas, camera, torch.zeros(number, 512), mask, weights)


def info(**data: Any) -> CheckpointInfo:
    return CheckpointInfo("handnet", {"name": "handnet"}, {"network": {"size": SIZE}}, 7, data={"hand": "open", **data})


def knowing(*truths: Truth, **options: Any) -> HandNetPredictor:
    return HandNetPredictor(Knows([one.said for one in truths], **options), info())  # type: ignore[arg-type]


def in_camera(found: HandsInImage, camera: np.ndarray, *, is_right: bool) -> HandParameters:
    return hands_in_camera(found, np.repeat(camera[None], len(found), 0), HANDS[is_right])


def some(number: int, *, is_right: bool, **options: Any) -> list[Truth]:
    return [truth(seed, is_right=is_right, **options) for seed in range(number)]


@pytest.mark.parametrize("is_right", [True, False])
def test_a_network_that_knows_the_hand_gives_it_back(is_right: bool) -> None:
    truths = some(20, is_right=is_right)  # more than one batch
    found = knowing(*truths).step([one.look for one in truths])
    assert set(found.is_right.tolist()) == {is_right}
    placed = in_camera(found, K, is_right=is_right)
    for name in ("joints", "vertices", "betas", "hand_pose"):
        wanted = torch.cat([getattr(one.placed, name) for one in truths])
        torch.testing.assert_close(getattr(placed, name), wanted, atol=2e-5, rtol=0)


@pytest.mark.parametrize(("far", "bound"), [(1, 0.1), (20, 0.006)])
@pytest.mark.parametrize("is_right", [True, False])
def test_the_full_image_shows_the_hand_where_the_crop_does(is_right: bool, far: int, bound: float) -> None:
    """At the wrist to hundredths of a pixel; elsewhere the better the further away, up to fx against fy."""
    camera = K * np.array([[far, far, 1], [far, far, 1], [1, 1, 1]])
    truths = some(12, is_right=is_right, camera=camera, far=far, fitted=True)
    placed = in_camera(knowing(*truths).step([one.look for one in truths]), camera, is_right=is_right)
    layer = WeakPoseLayer(HANDS[True])
    for i, one in enumerate(truths):
        pose, betas, weak = torch.from_numpy(one.said).split([48, 10, 3])
        crop = layer(pose=pose, betas=betas, camera=weak).joints_2d.numpy()
        crop = crop if is_right else np.stack([1 - crop[:, 0], crop[:, 1]], 1)
        side = one.look.square[2] - one.look.square[0]
        expected = one.look.square[:2] + side * crop
        shown = pixels(placed.joints[i].numpy(), camera)
        np.testing.assert_allclose(shown[0], expected[0], atol=0.03)
        assert np.linalg.norm(shown - expected, axis=1).mean() < bound * side
        assert np.linalg.norm(shown - pixels(one.joints, camera), axis=1).mean() < bound * side
        about_wrist = placed.joints[i] - placed.joints[i, :1]
        assert np.linalg.norm(about_wrist - (one.joints - one.joints[:1]), axis=1).max() < 2 * bound * 0.18
        assert abs(float(placed.joints[i, 0, 2]) / one.joints[0, 2] - 1) < 4 * bound


def test_a_left_hand_is_the_mirrored_right_one() -> None:
    right, width = truth(3), 640
    x0, y0, x1, y1 = right.look.square
    left = replace(right.look, square=np.array([width - x1, y0, width - x0, y1]), is_right=False)
    mirrored = K + np.array([[0, 0, width - 2 * K[0, 2]], [0, 0, 0], [0, 0, 0]])
    a = in_camera(knowing(right).step([right.look]), K, is_right=True)
    b = in_camera(knowing(right).step([left]), mirrored, is_right=False)
    np.testing.assert_allclose(b.vertices, a.vertices * MIRROR.astype(np.float32), atol=1e-5)


@pytest.mark.parametrize("is_right", [True, False])
def test_hands_about_their_origin_are_what_the_weak_camera_shows(is_right: bool) -> None:
    """As the generated sequences have them."""
    truths = some(3, is_right=is_right)
    found = knowing(*truths).step([one.look for one in truths])
    about = hands_about_origin(found, None, HANDS[is_right]).joints.numpy()
    flat = np.concatenate([about[..., :2], np.ones((3, 21, 1))], -1) @ weak_K(found, about[:, 0]).transpose(0, 2, 1)
    layer = ManoLayer(HANDS[is_right])
    posed = layer(hand_pose=found.hand_pose, betas=found.betas).joints
    R = axis_angle_to_matrix(found.orient)
    np.testing.assert_allclose(about, posed @ R.mT, atol=1e-5)
    for i, one in enumerate(truths):
        turned = (posed[i] - posed[i, 0]) @ R[i].T
        side = one.look.square[2] - one.look.square[0]
        scale = one.said[58] * side
        np.testing.assert_allclose(flat[i, :, :2], pixels(one.joints, K)[0] + scale * turned[:, :2].numpy(), atol=0.01)


def test_keypoints_are_drawn_where_the_crop_has_them() -> None:
    predictor = knowing(truth(0), truth(1))
    network: Any = predictor.network
    looks = [truth(0).look, truth(1, is_right=False).look]
    points = np.stack([np.tile(look.square[:2] + 1, (21, 1)) for look in looks])
    sides = [look.square[2] - look.square[0] for look in looks]
    points[0, 5] = looks[0].square[:2] + sides[0] * np.array([10.5, 20.5]) / SIZE
    points[1, 5] = looks[1].square[:2] + sides[1] * np.array([10.5, 20.5]) / SIZE
    points[0, 7] = np.nan
    scores = np.full((2, 21), 0.8)
    scores[1, 3], scores[0, 9] = 0, np.nan
    predictor.step(looks, points, scores)
    (maps,) = network.maps
    assert maps.shape == (2, 21, SIZE, SIZE)
    for row, column in ((0, 10), (1, SIZE - 1 - 10)):  # the left hand's crop is mirrored
        assert divmod(int(maps[row, 5].argmax()), SIZE) == (20, column)
        assert float(maps[row, 5].max()) == pytest.approx(0.8, abs=1e-6)
    assert not maps[1, 3].any()
    assert not maps[0, 7].any()
    assert not maps[0, 9].any()
    spread = float(maps[0, 5, 20, 12] / maps[0, 5, 20, 10])
    assert spread == pytest.approx(np.exp(-0.5 * (2 / SIZE / 0.03) ** 2), rel=1e-3)


def test_pixels_are_those_of_the_looks() -> None:
    predictor, looks = knowing(truth(0)), looks_of(3)
    predictor.step(looks)
    network: Any = predictor.network
    (images,) = network.images
    np.testing.assert_allclose(images[1].permute(1, 2, 0), looks[1].crop / 255, atol=1e-6)
    (maps,) = network.maps
    assert not maps.any(), "nobody saw keypoints"


def drawn(looks: list[Look], seed: int = 0) -> np.ndarray:
    """Keypoints in the looks' squares."""
    shares = np.random.default_rng(seed).uniform(0.1, 0.9, (len(looks), 21, 2))
    squares = np.stack([look.square for look in looks])
    return squares[:, None, :2] + shares * (squares[:, 2:] - squares[:, :2])[:, None]


def same(a: HandsInImage, b: HandsInImage) -> bool:
    # Other batch sizes and threads round otherwise, and a random network's answers are large.
    pairs = (getattr(hands, name) for name in ("orient", "betas") for hands in (a, b))
    return all(torch.allclose(one, other, atol=1e-3, rtol=1e-3) for one, other in zip(pairs, pairs, strict=True))


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., HandNetPredictor]:
    folder = tmp_path_factory.mktemp("weights")

    def made(network: str, **data: Any) -> HandNetPredictor:
        return load_handnet_predictor(write_handnet(folder / "net.safetensors", small_handnet(inputs=network), **data))

    return made


def test_what_a_checkpoint_does_not_see_changes_nothing(load: Callable[..., HandNetPredictor]) -> None:
    looks = looks_of(4)
    others = [replace(look, crop=255 - look.crop) for look in looks]
    scores = np.ones((4, 21))
    for inputs, sees_pixels, sees_points in (
        ("both", True, True),
        ("image", True, False),
        ("keypoints", False, True),
    ):
        predictor = load(inputs)
        found = predictor.step(looks, drawn(looks), scores)
        assert same(found, predictor.step(others, drawn(looks), scores)) != sees_pixels, inputs
        assert same(found, predictor.step(looks, drawn(looks, 1), scores)) != sees_points, inputs
        assert predictor.sees == {"both": "image and keypoints"}.get(inputs, inputs)


def test_of_a_network_of_both_a_stage_may_have_seen_one(load: Callable[..., HandNetPredictor]) -> None:
    looks = looks_of(2)
    early, network = load("both", inputs="image"), small_handnet()
    found = early.step(looks, drawn(looks), np.ones((2, 21)))
    images = torch.from_numpy(np.stack([look.crop for look in looks])).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        torch.testing.assert_close(found.betas.float(), network(images, None).betas, atol=1e-5, rtol=1e-4)
    assert early.sees == "image"


def test_without_keypoints_the_fusion_sees_empty_maps(load: Callable[..., HandNetPredictor]) -> None:
    looks, both = looks_of(2), load("both")
    images = torch.from_numpy(np.stack([look.crop for look in looks])).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        said = both.network(images, torch.zeros(2, 21, SIZE, SIZE))
    found = both.step(looks, drawn(looks), np.zeros((2, 21)))
    torch.testing.assert_close(found.betas.float(), said.betas, atol=1e-5, rtol=1e-4)
    assert same(found, both.step(looks))


def test_keypoints_outside_the_square(load: Callable[..., HandNetPredictor]) -> None:
    looks = looks_of(2)
    points, scores = drawn(looks), np.ones((2, 21))
    points[0, :20] += 1e4
    predictor = load("keypoints")
    assert torch.isfinite(predictor.step(looks, points, scores).orient).all(), "one is inside"
    points[0] += 1e4
    with pytest.raises(HandkitError, match="hand 0 has no keypoint in its square"):
        predictor.step(looks, points, scores)
    with pytest.raises(HandkitError, match="hand 1 has no keypoint"):
        predictor.step(looks, drawn(looks), np.stack([np.ones(21), np.zeros(21)]))
    with pytest.raises(HandkitError, match="hand 0 has no keypoint"):
        predictor.step(looks)
    assert torch.isfinite(load("both").step(looks, points, scores).orient).all(), "there is the image"


def test_each_look_is_alone(load: Callable[..., HandNetPredictor], monkeypatch: pytest.MonkeyPatch) -> None:
    looks = [*looks_of(2), *looks_of(3, is_right=False, seed=1)]
    predictor, points, scores = load("both"), drawn(looks), np.ones((5, 21))
    together = predictor.step(looks, points, scores)
    monkeypatch.setattr("handkit.inference.handnet._AT_ONCE", 2)
    assert same(predictor.step(looks, points, scores), together)
    assert not torch.allclose(together.betas[0], together.betas[1], atol=1e-3)
    assert same(predictor.step(looks[3:4], points[3:4], scores[3:4]), together.rows(torch.tensor([3])))
    assert together.is_right.tolist() == [True, True, False, False, False]


def test_masks_are_as_the_picture_shows_them(load: Callable[..., HandNetPredictor]) -> None:
    looks = [truth(0).look, truth(1, is_right=False).look]
    masks = knowing(truth(0)).masks(looks)
    row = 1 / (1 + np.exp(-np.linspace(-4, 4, SIZE)))
    np.testing.assert_allclose(masks[0], np.tile(row, (SIZE, 1)), atol=1e-6)
    np.testing.assert_allclose(masks[1], np.tile(row[::-1], (SIZE, 1)), atol=1e-6)
    real, given = load("both"), looks_of(2)
    images = torch.from_numpy(np.stack([look.crop for look in given])).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        maps = keypoint_heatmaps(torch.full((2, 21, 2), 0.5), torch.ones(2, 21), size=SIZE, sigma=0.03)
        logits = real.network(images, maps).mask
    middle = np.stack([(look.square[:2] + look.square[2:]) / 2 for look in given])[:, None].repeat(21, 1)
    np.testing.assert_allclose(real.masks(given, middle, np.ones((2, 21))), logits.sigmoid(), atol=1e-4)
    with pytest.raises(HandkitError, match="sees the keypoints alone and segments nothing"):
        load("keypoints").masks(given, middle, np.ones((2, 21)))


def turned_rig() -> np.ndarray:
    """[R|t] of a right camera beside the left one and turned to it a little."""
    R = axis_angle_to_matrix(torch.tensor([0.02, -0.09, 0.03], dtype=torch.float64)).numpy()
    return np.concatenate([R, [[-0.12], [0.01], [0.005]]], 1)


def moved(placed: HandParameters, rig: np.ndarray, *, is_right: bool) -> HandParameters:
    """A hand of one camera in another one."""
    R = torch.from_numpy(rig[:, :3]) @ axis_angle_to_matrix(placed.global_orient.double())
    rest = placed.joints[:, 0] - placed.transl
    wrist = torch.from_numpy(placed.joints[:, 0].double().numpy() @ rig[:, :3].T + rig[:, 3]).float()
    given = {"hand_pose": placed.hand_pose, "betas": placed.betas}
    given |= {"global_orient": matrix_to_axis_angle(R).float(), "transl": wrist - rest}
    out = ManoLayer(HANDS[is_right])(**given)
    return HandParameters(**given, joints=out.joints, vertices=out.vertices)


def views_of(truths: list[Truth]) -> View:
    unseen = SeenKeypoints(np.zeros((len(truths), 21, 2)), np.zeros((len(truths), 21)))
    return View([one.look for one in truths], unseen, np.stack([one.K for one in truths]))


def pairs_of(rig: np.ndarray, sides: list[bool]) -> tuple[list[Truth], list[Truth]]:
    """Hands in the left camera K, and in a right camera of another K."""
    other = K + np.array([[-40.0, 0, 12], [0, -20, -9], [0, 0, 0]])
    placed = [place(seed, is_right=side) for seed, side in enumerate(sides)]
    left = [told(one, is_right=side, camera=K) for one, side in zip(placed, sides, strict=True)]
    right = [
        told(moved(one, rig, is_right=side), is_right=side, camera=other)
        for one, side in zip(placed, sides, strict=True)
    ]
    return right, left


def shown_order(right: list[Truth], left: list[Truth], at_once: int) -> list[Truth]:
    """The rows as the network gets them: batches of first views and their second ones, left hands changed over."""
    first = [a if a.look.is_right else b for a, b in zip(right, left, strict=True)]
    second = [b if a.look.is_right else a for a, b in zip(right, left, strict=True)]
    return [
        row
        for begin in range(0, len(first), at_once)
        for row in (*first[begin : begin + at_once], *second[begin : begin + at_once])
    ]


@pytest.mark.parametrize("camera", ["average", "triangulated"])
def test_two_views_that_say_one_hand_give_it(camera: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handkit.inference.handnet._AT_ONCE", 6)
    rig, sides = turned_rig(), [True, False, False, True, True]
    right, left = pairs_of(rig, sides)
    predictor = knowing(*shown_order(right, left, 3), weight=0.3)
    found = predictor.pair(views_of(right), views_of(left), rig, camera=camera)
    for hands, truths in (
        (found.right, right),
        (found.left, left),
        (found.right_alone, right),
        (found.left_alone, left),
    ):
        assert hands.is_right.tolist() == sides
        for row, one in enumerate(truths):
            placed = in_camera(hands.rows(torch.tensor([row])), one.K, is_right=sides[row])
            torch.testing.assert_close(placed.vertices, one.placed.vertices, atol=5e-5, rtol=0)
    shares = np.where(np.array(sides)[:, None], 0.3, 0.7) * np.ones((1, 48))
    np.testing.assert_allclose(found.shares, shares, atol=1e-6)


@pytest.mark.parametrize("is_right", [True, False])
def test_where_views_differ_each_has_its_share(is_right: bool) -> None:
    """Finger poses are blended; with all the weight the first view's stay."""
    rig = turned_rig()
    right, left = pairs_of(rig, [is_right])
    bent = left[0].said.copy()
    bent[3:48] += 0.2
    other = replace(left[0], said=bent)
    for weight, share in ((1.0, 1.0 if is_right else 0.0), (0.25, 0.25 if is_right else 0.75)):
        predictor = knowing(*shown_order(right, [other], 8), weight=weight)
        found = predictor.pair(views_of(right), views_of([other]), rig)
        own, its, both = (hands.hand_pose for hands in (found.right_alone, found.left_alone, found.right))
        torch.testing.assert_close(both, share * own + (1 - share) * its, atol=1e-5, rtol=0)
        assert not torch.allclose(own, its, atol=0.1)


def test_pairs_of_real_networks_and_bad_pairs(tmp_path: Path) -> None:
    rig = turned_rig()
    right, left = pairs_of(rig, [True, False])
    mono = load_handnet_predictor(write_handnet(tmp_path / "mono.safetensors"))
    with pytest.raises(HandkitError, match="no weights of two views") as caught:
        mono.pair(views_of(right), views_of(left), rig)
    assert "handkit finetune handnet-stereo" in caught.value.fix
    network = small_handnet(stereo=True)
    stereo = load_handnet_predictor(write_handnet(tmp_path / "stereo.safetensors", network))
    found = stereo.pair(views_of(right), views_of(left), rig)
    alone = stereo.step([one.look for one in right])
    assert same(found.right_alone, alone)
    torch.testing.assert_close(found.right.betas, (found.right_alone.betas + found.left_alone.betas) / 2)
    adapted = stereo.pair(views_of(right), views_of(left), rig, adapted=True)
    assert same(adapted.right, found.right), "the adapted head starts as a copy"
    with torch.no_grad():
        for parameter in stereo.network.part("adapted_head").parameters():
            parameter.mul_(1.5)
    assert not same(stereo.pair(views_of(right), views_of(left), rig, adapted=True).right, found.right)
    assert same(stereo.pair(views_of(right), views_of(left), rig).right, found.right)
    with pytest.raises(HandkitError, match="a right one in one view and a left one in the other"):
        stereo.pair(views_of(right), views_of(left[::-1]), rig)


def test_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    own = write_handnet(tmp_path / "handnet.safetensors")
    with pytest.raises(HandkitError, match=r"sequence network .* no HandNet"):
        load_handnet_predictor(write_small(tmp_path / "seqhand.safetensors"))
    with pytest.raises(HandkitError, match=r"S2HAND network .* no HandNet"):
        load_handnet_predictor(write_s2hand(tmp_path / "s2hand.safetensors"))
    with pytest.raises(HandkitError, match="no S2HAND network"):
        load_s2hand(own)
    with pytest.raises(HandkitError, match="HandNet"):
        load_predictor(own)
    own.write_bytes(own.read_bytes()[:1000])
    with pytest.raises(HandkitError, match="no readable safetensors"):
        load_handnet_predictor(own)


def test_where_weights_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDKIT_WEIGHTS", str(tmp_path / "own"))
    kind = HANDNET._replace(usual="one.safetensors", or_else="two.safetensors")
    with pytest.raises(HandkitError, match=r"no weights one.safetensors") as caught:
        find_checkpoint(None, kind)
    assert "`handkit pretrain handnet --out DIR`" in caught.value.fix
    (tmp_path / "own").mkdir()
    second = write_handnet(tmp_path / "own" / "two.safetensors")
    assert find_checkpoint(None, kind) == second
    first = write_handnet(tmp_path / "own" / "one.safetensors")
    assert find_checkpoint(None, kind) == first
    (tmp_path / "run" / "image").mkdir(parents=True)
    image = write_handnet(tmp_path / "run" / "image" / "handnet.safetensors")
    assert find_checkpoint(tmp_path / "run", HANDNET) == image
    (tmp_path / "run" / "finalize").mkdir()
    last = write_handnet(tmp_path / "run" / "finalize" / "handnet.safetensors")
    assert find_checkpoint(tmp_path / "run", HANDNET) == last
