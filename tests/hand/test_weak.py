"""The weak-perspective hand: equal to the annotations of synthetic sequences, right gradients, any batch."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from handkit.data.seqhand import weak_camera_keys
from handkit.geometry.cameras import weak_perspective
from handkit.geometry.rotations import axis_angle_to_matrix, mirror_axis_angle, mirror_points
from handkit.hand import HandModel, ManoLayer, load_hand
from handkit.hand.weak import WeakHandLayer
from handkit.synth.sequence import SequenceMaker
from tests.synth.seqhand import small_maker

SIZES = {"pca": (10,), "betas": (10,), "scale": (), "shift": (2,), "orient": (3,)}

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def layer() -> WeakHandLayer:
    return WeakHandLayer(load_hand("open"))


def build_inputs(*batch: int, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(5)
    return {
        name: torch.randn((*batch, *size), generator=generator, dtype=torch.float64).to(dtype)
        for name, size in SIZES.items()
    }


def annotated(hand: HandModel, sequences: int = 3) -> tuple[dict[str, Tensor], int]:
    """The schema's annotations [B, T, ...] of synthetic sequences of a hand, and their pictures' width."""
    of = small_maker()
    maker = SequenceMaker(of.recipe, seed=0, split="train", bank=of.bank, hand=hand)
    rows: list[dict[str, Any]] = []
    for sequence in maker.annotate_many(range(sequences)):
        arrays = sequence.annotations()
        frames = [{name: values[t] for name, values in arrays.items()} for t in range(len(sequence.s))]
        rows += [{**weak_camera_keys(frame), "pca": frame["theta"]} for frame in frames]
    stacked = {key: torch.from_numpy(np.stack([np.asarray(row[key], np.float32) for row in rows])) for key in rows[0]}
    return {key: value.unflatten(0, (sequences, -1)) for key, value in stacked.items()}, of.recipe.size


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("model", ["open", "mano"])
def test_it_gives_the_annotations_of_synthetic_sequences(model: str, side: Any, mano_folder: Path) -> None:
    hand = load_hand("open" if model == "open" else mano_folder / f"MANO_{side.upper()}.pkl", side)
    true, width = annotated(hand)
    found = WeakHandLayer(hand)(
        pca=true["pca"],
        betas=true["betas"],
        scale=true["weak_scale"] / width,
        shift=true["weak_transl"] / width - 0.5,
        orient=true["global_orient"],
    )
    assert found.joints.shape == (3, 3, 21, 3)
    torch.testing.assert_close(found.joints, true["joints_3d"], atol=1e-6, rtol=0)
    torch.testing.assert_close(found.vertices, true["vertices"], atol=1e-6, rtol=0)
    torch.testing.assert_close(width * found.joints_2d, true["joints_2d"], atol=1e-3, rtol=0)
    torch.testing.assert_close(width * found.vertices_2d, true["vertices_2d"], atol=1e-3, rtol=0)


def test_it_is_the_layer_turned_about_its_origin_and_projected(layer: WeakHandLayer) -> None:
    inputs = build_inputs(4)
    posed = ManoLayer(load_hand("open"), num_pca=10, flat_hand_mean=False)(
        hand_pose=inputs["pca"], betas=inputs["betas"]
    )
    R = axis_angle_to_matrix(inputs["orient"])
    found = layer(**inputs)
    for points, turned, flat in zip(posed, (found[1], found[0]), (found[3], found[2]), strict=True):
        torch.testing.assert_close(turned, torch.einsum("bij,bnj->bni", R, points))
        torch.testing.assert_close(flat, weak_perspective(points, inputs["scale"], R, inputs["shift"]) + 0.5)


def test_the_mirrored_hand_gives_the_mirrored_picture(layer: WeakHandLayer) -> None:
    inputs = build_inputs(3)
    mirrored = {
        **inputs,
        "orient": mirror_axis_angle(inputs["orient"]),
        "shift": inputs["shift"] * torch.tensor([-1.0, 1.0]),
    }
    right, left = layer(**inputs), WeakHandLayer(load_hand("open", "left"))(**mirrored)
    torch.testing.assert_close(left.vertices, mirror_points(right.vertices))
    torch.testing.assert_close(left.joints_2d[..., 0], 1 - right.joints_2d[..., 0])


@pytest.mark.parametrize("batch", [(), (1,), (2, 3), (2, 1, 2), (0,), (2, 0)])
def test_leading_dimensions(layer: WeakHandLayer, batch: tuple[int, ...]) -> None:
    inputs = build_inputs(*batch)
    found = layer(**inputs)
    shapes = [tuple(points.shape[len(batch) :]) for points in found]
    assert shapes == [(21, 3), (778, 3), (21, 2), (778, 2)]
    for at in np.ndindex(*batch):
        alone = layer(**{name: value[at] for name, value in inputs.items()})
        for one, all_ in zip(alone, found, strict=True):
            torch.testing.assert_close(one, all_[at])


def test_without_vertices_the_joints_are_the_same(layer: WeakHandLayer) -> None:
    inputs = build_inputs(2, 3)
    found, few = layer(**inputs), layer(**inputs, want_vertices=False)
    torch.testing.assert_close(few.joints, found.joints)
    torch.testing.assert_close(few.joints_2d, found.joints_2d)
    assert few.vertices.shape == (2, 3, 0, 3)
    assert few.vertices_2d.shape == (2, 3, 0, 2)


def test_gradients(layer: WeakHandLayer) -> None:
    inputs = [value.requires_grad_() for value in build_inputs(2).values()]

    def some(*values: Tensor) -> tuple[Tensor, ...]:
        found = layer(**dict(zip(SIZES, values, strict=True)))
        return found.joints, found.joints_2d, found.vertices[:, ::97], found.vertices_2d[:, ::97]

    assert torch.autograd.gradcheck(some, inputs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-5, np.pi, 2 * np.pi])
def test_gradients_at_special_angles(layer: WeakHandLayer, dtype: torch.dtype, angle: float) -> None:
    """Finite, and the slopes of exp: at an angle a about an axis, that of turning further about it is known."""
    axis = torch.tensor([[0.6, 0.0, 0.8]], dtype=dtype)
    orient = (angle * axis).requires_grad_()
    inputs = {**build_inputs(1, dtype=dtype), "orient": orient}
    joint = layer(**inputs).joints[0, 12]
    slopes = torch.stack([torch.autograd.grad(value, orient, retain_graph=True)[0][0] for value in joint])
    assert slopes.isfinite().all()
    expected = torch.linalg.cross(axis[0], joint.detach())
    torch.testing.assert_close(slopes @ axis[0], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(layer: WeakHandLayer, half: torch.dtype) -> None:
    inputs = {name: value.to(half) for name, value in build_inputs(3).items()}
    exact = layer(**{name: value.float() for name, value in inputs.items()})
    with torch.autocast("cpu", half):
        found = layer(**inputs)
    for points, expected in zip(found, exact, strict=True):
        assert points.dtype == torch.float32
        torch.testing.assert_close(points, expected, atol=1e-6, rtol=1e-5)


def test_nothing_of_it_enters_a_checkpoint(layer: WeakHandLayer) -> None:
    assert not layer.state_dict()
    assert not list(layer.parameters())
