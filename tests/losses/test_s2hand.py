"""S2HAND's losses against twins that loop over samples and joints, written from the equations."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from handkit import losses
from handkit.conventions import JOINT_PARENTS
from tests.losses.common import gradient, random

B, F, SIZE = 3, 40, 5
PIXELS = 12.0  # random points this far apart lie on both sides of the 5 px threshold
Loss = Callable[..., Tensor]


def distance(a: Tensor, b: Tensor) -> Tensor:
    return sum(((x - y) ** 2 for x, y in zip(a, b, strict=True)), torch.zeros(()).double()) ** 0.5


def smooth_l1(a: Tensor, b: Tensor) -> Tensor:
    d = distance(a, b)
    return d**2 / 10 if d < 5 else d - 2.5


def mean(values: list[Tensor]) -> Tensor:
    return torch.stack(values).mean()


def eq_3(pred: Tensor, target: Tensor, confidence: Tensor) -> Tensor:
    return mean([sum(confidence[b, i] * smooth_l1(pred[b, i], target[b, i]) for i in range(21)) / 21 for b in range(B)])


def released_location(pred: Tensor, target: Tensor, confidence: Tensor) -> Tensor:
    above, below = [], []
    for b in range(B):
        for i in range(21):
            weight = confidence[b, i] * {0: 2.0, 4: 1.5, 8: 1.5, 12: 1.5, 16: 1.5, 20: 1.5}.get(i, 1.0)
            above.append(weight**2 * smooth_l1(pred[b, i], target[b, i]))
            below.append(weight**2)
    return sum(above) / sum(below)


def released_estimate(pred: Tensor, target: Tensor, confidence: Tensor) -> Tensor:
    total = torch.zeros(()).double()
    for stack in range(2):
        above = sum(
            confidence[b, i] ** 2 * distance(pred[b, stack, i], target[b, i]) for b in range(B) for i in range(21)
        )
        total = total + above / sum(c**2 for c in confidence.flatten())
    return total


def eq_11(projected: Tensor, estimated: Tensor) -> Tensor:
    return mean([mean([smooth_l1(projected[b, i], estimated[b, i]) for i in range(21)]) for b in range(B)])


def eq_4(pred: Tensor, target: Tensor, confidence: Tensor) -> Tensor:
    terms = []
    for b in range(B):
        for child in range(1, 21):
            parent = JOINT_PARENTS[child]
            bones = [points[b, child] - points[b, parent] for points in (pred, target)]
            p, t = (bone / (distance(bone, torch.zeros(2)) + 1e-4) for bone in bones)
            terms.append(confidence[b, child] * confidence[b, parent] * distance(p, t) ** 2)
    return mean(terms)


def outliers(texture: Tensor) -> list[Tensor]:
    penalties = []
    for b in range(len(texture)):
        total = torch.zeros(()).double()
        for channel in range(3):
            colors = texture[b, :, channel]
            middle = sum(colors) / F
            std = (sum((color - middle) ** 2 for color in colors) / (F - 1)) ** 0.5
            for color in colors:
                if color > middle + 2 * std or color < middle - 2 * std:
                    total = total + abs(color - middle)
        penalties.append(total / (F * 3))
    return penalties


def released_outliers(texture: Tensor, confidence: Tensor) -> Tensor:
    above = sum(2 * c * penalty for c, penalty in zip(confidence, outliers(texture), strict=True))
    return above / sum(c**2 for c in confidence)


def mrgb(pred: Tensor, target: Tensor, silhouette: Tensor, confidence: Tensor) -> Tensor:
    above = torch.zeros(()).double()
    for b in range(B):
        inside = [(y, x) for y in range(SIZE) for x in range(SIZE) if silhouette[b, y, x] > 0]
        means = [mean([image[b, c, y, x] for c in range(3) for y, x in inside]) for image in (pred, target)]
        above = above + confidence[b] ** 2 * abs(means[0] - means[1])
    return above / sum(c**2 for c in confidence)


def e_s(joints: Tensor) -> Tensor:
    return mean([abs(distance(joints[b, 9], joints[b, 10]) - 0.0282) for b in range(B)])


HINGE = ((-5, 5), (-5, 5), (-10, 100))
BASE = ((-5, 5), (-10, 10), (-10, 100))
LITTLE = ((-20, 5), (-10, 20), (-10, 100))
THUMB = (
    ((0, 90), (-22.5, 33.75), (-22.5, 22.5)),
    ((-5, 5), (-5, 5), (-22.5, 22.5)),
    ((-5, 5), (-5, 5), (-20, 100)),
)
RANGES_DEG = (BASE, HINGE, HINGE, BASE, HINGE, HINGE, LITTLE, HINGE, HINGE, BASE, HINGE, HINGE, *THUMB)


def e_j(pose: Tensor) -> Tensor:
    total = torch.zeros(()).double()
    for b in range(B):
        for joint, ranges in enumerate(RANGES_DEG):
            for axis, (low, high) in enumerate(ranges):
                angle, weight = pose[b, joint, axis], (1, 1, 2)[axis]
                total = total + weight * (
                    max(angle - math.radians(high), torch.zeros(()).double())
                    + max(math.radians(low) - angle, torch.zeros(()).double())
                )
    return total / (B * 16 * 3)


POINTS = PIXELS * random(B, 21, 2)
STACKS = PIXELS * random(B, 2, 21, 2)
TARGET = PIXELS * random(B, 21, 2, seed=1)
SURE = random(B, 21, seed=2).where(random(B, 21, seed=3) < 0.8, 0.0)
SAMPLE_SURE = random(B, seed=4)
TEXTURE = torch.randn(B, F, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
IMAGE, PHOTO = random(B, 3, SIZE, SIZE), random(B, 3, SIZE, SIZE, seed=1)
MASK = random(B, SIZE, SIZE, seed=2).where(random(B, SIZE, SIZE, seed=3) < 0.5, 0.0)

# Loss, its twin, what gets the gradient, the other arguments.
LOSSES: dict[str, tuple[Loss, Loss, Tensor, tuple[Tensor, ...]]] = {
    "eq 3": (losses.joint_location, eq_3, POINTS, (TARGET, SURE)),
    "released location": (losses.joint_location_released, released_location, POINTS, (TARGET, SURE)),
    "released estimate": (losses.estimated_location_released, released_estimate, STACKS, (TARGET, SURE)),
    "eq 11": (losses.keypoint_consistency, eq_11, POINTS, (TARGET,)),
    "eq 11, estimated": (lambda e, p: losses.keypoint_consistency(p, e), eq_11, POINTS, (TARGET,)),
    "eq 4": (losses.bone_orientation, eq_4, POINTS, (TARGET, SURE)),
    "E_beta": (
        losses.shape_regularization,
        lambda betas: mean([distance(sample, torch.zeros(10)) for sample in betas]),
        random(B, 10) - 0.5,
        (),
    ),
    "released shape": (
        losses.shape_regularization_released,
        lambda betas: mean([beta**2 for sample in betas for beta in sample]),
        random(B, 10) - 0.5,
        (),
    ),
    "E_C": (losses.texture_outliers, lambda texture: mean(outliers(texture)), TEXTURE, ()),
    "released texture": (losses.texture_outliers_released, released_outliers, TEXTURE, (SAMPLE_SURE,)),
    "mrgb": (losses.mean_color, mrgb, IMAGE, (PHOTO, MASK, SAMPLE_SURE)),
    "E_s": (losses.bone_length, e_s, 0.05 * random(B, 21, 3), ()),
    "E_J": (losses.pose_limits, e_j, 3 * random(B, 15, 3) - 1.5, ()),
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_its_equation(name: str) -> None:
    loss, twin, of, others = LOSSES[name]
    value, slope = gradient(lambda x: loss(x, *others), of)
    expected, expected_slope = gradient(lambda x: twin(x, *others), of)
    assert value > 0
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(slope, expected_slope)


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_does_not_depend_on_the_number_or_arrangement_of_samples(name: str) -> None:
    loss, _, of, others = LOSSES[name]
    value = loss(of, *others)
    torch.testing.assert_close(loss(*(torch.cat([x, x]) for x in (of, *others))), value)
    torch.testing.assert_close(loss(*(torch.stack([x, x]) for x in (of, *others))), value)
    assert loss(of[0], *(x[0] for x in others)).isfinite()
    assert loss(of[:0], *(x[:0] for x in others)) == 0
    if "released" not in name and name != "mrgb":
        each = [loss(of[b], *(x[b] for x in others)) for b in range(B)]
        torch.testing.assert_close(value, mean(each))


@pytest.mark.parametrize("name", ["eq 3", "released location", "released estimate", "eq 4"])
def test_a_joint_without_confidence_is_out_of_it_whatever_it_holds(name: str) -> None:
    loss, _, of, (target, sure) = LOSSES[name]
    hidden = (sure == 0).unsqueeze(-1)
    assert hidden.any()
    value, slope = gradient(lambda x: loss(x, target, sure), of)
    out = hidden if of.dim() == 3 else hidden[:, None].expand(B, 2, 21, 1)
    torn = target.masked_fill(hidden, torch.nan)
    torn_value, torn_slope = gradient(lambda x: loss(x, torn, sure), of.masked_fill(out, torch.nan))
    assert torn_value == value
    assert torch.equal(torn_slope, slope)
    assert (slope[out.expand_as(slope)] == 0).all()
    nothing, slope = gradient(lambda x: loss(x, target + torch.nan, 0 * sure), of)
    assert nothing == 0
    assert (slope == 0).all()


def test_a_sample_without_confidence_is_out_of_it_whatever_it_holds() -> None:
    sure = SAMPLE_SURE.clone()
    sure[1] = 0
    for name in ("released texture", "mrgb"):
        loss, _, of, (*others, _) = LOSSES[name]
        rest, rest_slope = gradient(lambda x, o=others, f=loss: f(x, *(y[::2] for y in o), sure[::2]), of[::2])
        torn = of.clone()
        torn[1] = torch.nan
        value, slope = gradient(lambda x, o=others, f=loss: f(x, *o, sure), torn)
        torch.testing.assert_close(value, rest)
        torch.testing.assert_close(slope[::2], rest_slope)
        assert (slope[1] == 0).all()
        nothing, slope = gradient(lambda x, o=others, f=loss: f(x, *o, 0 * sure), torn)
        assert nothing == 0
        assert (slope == 0).all()


def test_finite_at_the_target_and_where_nothing_is() -> None:
    at_target: list[tuple[Loss, Tensor]] = [
        (lambda x: losses.joint_location(x, TARGET, SURE), TARGET),
        (lambda x: losses.joint_location_released(x, TARGET, SURE), TARGET),
        (lambda x: losses.estimated_location_released(x, TARGET, SURE), TARGET[:, None].expand(B, 2, 21, 2)),
        (lambda x: losses.keypoint_consistency(x, TARGET), TARGET),
        (lambda x: losses.bone_orientation(x, TARGET, SURE), TARGET),
        (losses.shape_regularization, torch.zeros(B, 10)),
        (losses.shape_regularization_released, torch.zeros(B, 10)),
        (losses.texture_outliers, torch.full((B, F, 3), 0.3)),
        (lambda x: losses.mean_color(x, PHOTO, MASK, SAMPLE_SURE), PHOTO),
        (lambda x: losses.mean_color(x, PHOTO, 0 * MASK, SAMPLE_SURE), IMAGE),
    ]
    for loss, target in at_target:
        value, slope = gradient(loss, target)
        assert value == 0
        assert (slope == 0).all()
    value, slope = gradient(losses.bone_length, torch.zeros(B, 21, 3).double())
    assert value.item() == pytest.approx(0.0282)
    assert (slope == 0).all()
    value, slope = gradient(lambda x: losses.bone_orientation(x, TARGET, SURE), torch.zeros(B, 21, 2).double())
    assert value > 0  # bones without length
    assert slope.isfinite().all()
    within = torch.zeros(15, 3)
    within[12, 0] = 1.0
    assert losses.pose_limits(within) == 0


def test_convention_pins() -> None:
    at, origin, sure = torch.tensor([[3.0, 0.0]]), torch.zeros(1, 2), torch.ones(1)
    assert losses.joint_location(at, origin, sure).item() == pytest.approx(0.9)
    assert losses.joint_location(at, origin, sure / 2).item() == pytest.approx(0.45)
    assert losses.joint_location(at, origin, sure, delta_px=1.0).item() == pytest.approx(2.5)
    assert losses.keypoint_consistency(torch.tensor([[-6.0, 8.0]]), origin).item() == pytest.approx(7.5)
    right, down = torch.arange(21.0)[:, None] * torch.tensor([1.0, 0.0]), torch.arange(21.0)[:, None] * torch.eye(2)[1]
    assert losses.bone_orientation(right, down, torch.ones(21)).item() == pytest.approx(2, rel=1e-3)
    assert losses.bone_orientation(right, -right, torch.ones(21)).item() == pytest.approx(4, rel=1e-3)
    only_wrist = torch.zeros(21, 2)
    only_wrist[0, 1] = 10.0
    released = losses.joint_location_released(only_wrist, torch.zeros(21, 2), torch.ones(21))
    assert released.item() == pytest.approx(4 * 7.5 / (4 + 5 * 2.25 + 15))
    colors = torch.zeros(101, 3)
    colors[7, 1] = 1.01  # the mean is 0.01, the distance to it 1
    assert losses.texture_outliers(colors).item() == pytest.approx(1 / 303)
    assert losses.texture_outliers_released(colors, torch.tensor(0.5)).item() == pytest.approx(4 / 303)
    bent = torch.zeros(15, 3)
    bent[0, 2] = math.radians(103)  # 3 degrees too far about an axis of weight 2
    assert losses.pose_limits(bent).item() == pytest.approx(2 * math.radians(3) / 48, rel=1e-5)


def test_the_scale_bone_is_the_middle_fingers_first() -> None:
    joints = torch.zeros(21, 3)
    joints[10, 2] = 0.05
    assert losses.bone_length(joints).item() == pytest.approx(0.0218)
    assert losses.bone_length(joints, 0.04).item() == pytest.approx(0.01)
    assert losses.bone_length(joints[[*range(10), 11, 10, *range(12, 21)]]).item() == pytest.approx(0.0282)


def test_half_precision_is_computed_in_float32() -> None:
    far = torch.tensor([[300.0, 0.0]]).half()  # its square is beyond float16
    value, slope = gradient(lambda x: losses.joint_location(x, torch.zeros(1, 2), torch.ones(1)), far)
    assert value == 297.5
    assert slope.tolist() == [[1.0, 0.0]]
    assert losses.shape_regularization_released(far) == 45000
