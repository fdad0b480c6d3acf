"""The layer: equal to smplx on the same file, right gradients, and what turning, mirroring and batching must do."""

import contextlib
import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from handkit.conventions import JOINT_ORDERS
from handkit.errors import HandkitError
from handkit.geometry.rotations import axis_angle_to_matrix, compose_axis_angle, mirror_axis_angle
from handkit.hand import ManoLayer, load_hand
from handkit.hand.skinning import Blend, blend, build_quadratic, rotations

SIZES = {"global_orient": 3, "hand_pose": 45, "betas": 10, "transl": 3}

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def layer() -> ManoLayer:
    return ManoLayer(load_hand("open"))


def build_inputs(
    *batch: int, dtype: torch.dtype = torch.float64, scale: float = 0.5, pose: int = 45
) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(7)
    sizes = {**SIZES, "hand_pose": pose}
    return {
        name: scale * torch.randn(*batch, size, dtype=torch.float64, generator=generator).to(dtype)
        for name, size in sizes.items()
    }


def build_smplx(path: Path, **options: Any) -> Any:
    import smplx

    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        return smplx.create(str(path), model_type="mano", batch_size=1, **options)


@pytest.mark.parametrize(("num_pca", "flat"), [(None, True), (None, False), (6, True), (6, False), (30, False)])
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_parity_with_smplx(mano_folder: Path, num_pca: int | None, flat: bool, side: str, dtype: torch.dtype) -> None:
    path = mano_folder / f"MANO_{side.upper()}.pkl"
    theirs = build_smplx(
        path,
        is_rhand=side == "right",
        use_pca=num_pca is not None,
        num_pca_comps=num_pca or 45,
        flat_hand_mean=flat,
        dtype=dtype,
    )
    ours = ManoLayer(load_hand(path, fix_left_shapedirs=False), num_pca=num_pca, flat_hand_mean=flat)
    assert_equal_to_smplx(ours, theirs, build_inputs(10, dtype=dtype, pose=num_pca or 45))


def assert_equal_to_smplx(ours: ManoLayer, theirs: Any, inputs: dict[str, Tensor]) -> None:
    inputs = {name: value.requires_grad_() for name, value in inputs.items()}
    expected, output = theirs(**inputs), ours(**inputs)
    joints = output.joints[:, list(JOINT_ORDERS["mano"])][:, :16]
    assert output.vertices.dtype == inputs["betas"].dtype
    torch.testing.assert_close(output.vertices, expected.vertices, atol=1e-6, rtol=0)
    torch.testing.assert_close(joints, expected.joints[:, :16], atol=1e-6, rtol=0)
    factor = torch.linspace(-1, 1, output.vertices.numel(), dtype=output.vertices.dtype).view_as(output.vertices)
    gradients = torch.autograd.grad((output.vertices * factor).sum() + joints.sum(), list(inputs.values()))
    wanted = torch.autograd.grad(
        (expected.vertices * factor).sum() + expected.joints[:, :16].sum(), list(inputs.values())
    )
    for ours_, theirs_ in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(ours_, theirs_, atol=1e-5 * float(theirs_.abs().max()), rtol=1e-5)


def test_parity_with_smplx_on_random_arrays(reference: Path, tmp_path: Path) -> None:
    import pickle

    arrays = dict(np.load(reference / "mano_format_arrays.npz"))
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(pickle.dumps(arrays))
    theirs = build_smplx(path, is_rhand=True, use_pca=True, num_pca_comps=12, flat_hand_mean=False)
    ours = ManoLayer(load_hand(reference / "mano_format_chumpy.pkl"), num_pca=12, flat_hand_mean=False)
    assert_equal_to_smplx(ours, theirs, build_inputs(3, dtype=torch.float32, pose=12))


def test_tips_are_the_models_vertices(layer: ManoLayer) -> None:
    output = layer(**build_inputs(2))
    torch.testing.assert_close(output.joints[:, [4, 8, 12, 16, 20]], output.vertices[:, [744, 320, 443, 554, 671]])


@pytest.mark.parametrize("batch", [(), (3,), (2, 5)])
def test_joints_alone_are_those_with_vertices(layer: ManoLayer, batch: tuple[int, ...]) -> None:
    rng = torch.Generator().manual_seed(5)
    given = {
        name: torch.randn(*batch, size, generator=rng, dtype=torch.float64, requires_grad=True)
        for name, size in (("global_orient", 3), ("hand_pose", 45), ("betas", 10), ("transl", 3))
    }
    whole, alone = layer(**given), layer(**given, want_vertices=False)
    assert alone.vertices.shape == (*batch, 0, 3)
    torch.testing.assert_close(alone.joints, whole.joints, atol=1e-12, rtol=0)
    weights = torch.randn(21, 3, generator=rng, dtype=torch.float64)
    found = [torch.autograd.grad((out.joints * weights).sum(), list(given.values())) for out in (whole, alone)]
    for first, second in zip(*found, strict=True):
        torch.testing.assert_close(first, second, atol=1e-10, rtol=0)


def test_zeros_give_the_template(layer: ManoLayer) -> None:
    output = layer()
    hand = layer.hand
    assert output.vertices.dtype == torch.float32
    np.testing.assert_allclose(output.vertices.numpy(), hand.v_template, atol=1e-7)
    wrist = hand.J_regressor[0] @ hand.v_template
    np.testing.assert_allclose(output.joints[0].numpy(), wrist, atol=1e-7)
    explicit = layer(**{name: torch.zeros(size) for name, size in SIZES.items()})
    assert torch.equal(output.vertices, explicit.vertices)


def test_plain_twin_of_the_whole_layer(layer: ManoLayer) -> None:
    """One hand skinned joint by joint in numpy, as the formulas read."""
    inputs = build_inputs(1)
    hand = layer.hand
    pose = torch.cat([inputs["global_orient"], inputs["hand_pose"]], dim=1).view(16, 3)
    matrices = axis_angle_to_matrix(pose).numpy()
    shaped = hand.v_template + hand.shapedirs @ inputs["betas"][0].numpy()
    rest = hand.J_regressor @ shaped
    posed = shaped + hand.posedirs @ (matrices[1:] - np.eye(3)).ravel()
    turned, moved = [matrices[0]], [rest[0]]
    for joint in range(1, 16):
        parent = hand.parents[joint]
        moved.append(moved[parent] + turned[parent] @ (rest[joint] - rest[parent]))
        turned.append(turned[parent] @ matrices[joint])
    expected = sum(
        hand.lbs_weights[:, [joint]] * ((posed - rest[joint]) @ turned[joint].T + moved[joint]) for joint in range(16)
    )
    output = layer(**inputs)
    np.testing.assert_allclose(output.vertices[0].numpy(), expected + inputs["transl"].numpy(), atol=1e-12)
    joints = output.joints[0, list(JOINT_ORDERS["mano"])][:16].numpy()
    np.testing.assert_allclose(joints, np.stack(moved) + inputs["transl"].numpy(), atol=1e-12)


@pytest.mark.parametrize("batch", [2, 9])  # few hands and many take different ways
@pytest.mark.parametrize("scale", [0.0, 1e-9, 1e-4, 0.5, 2.0])
def test_gradcheck(layer: ManoLayer, scale: float, batch: int) -> None:
    inputs = [value.requires_grad_() for value in build_inputs(batch, scale=scale).values()]

    def run(*values: Tensor) -> tuple[Tensor, ...]:
        return tuple(layer(**dict(zip(SIZES, values, strict=True))))

    assert torch.autograd.gradcheck(run, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(run, inputs, fast_mode=True)


def test_gradients_beyond_one_chunk(layer: ManoLayer) -> None:
    """130 hands pass in three chunks: the gradient of each is that of the hand alone."""
    inputs = {name: value.requires_grad_() for name, value in build_inputs(130).items()}
    factor = torch.linspace(0, 1, 778 * 3, dtype=torch.float64).view(778, 3)
    together = torch.autograd.grad((layer(**inputs).vertices * factor).sum(), list(inputs.values()))
    for row in (0, 63, 64, 129):
        alone = {name: value[row].detach().requires_grad_() for name, value in inputs.items()}
        single = torch.autograd.grad((layer(**alone).vertices * factor).sum(), list(alone.values()))
        for whole, one in zip(together, single, strict=True):
            torch.testing.assert_close(whole[row], one)


def test_blend_equals_its_plain_twin() -> None:
    generator = torch.Generator().manual_seed(3)
    affine = torch.randn(70, 3, 4, 16, dtype=torch.float64, generator=generator).requires_grad_()
    shaped = torch.randn(70, 3, 50, dtype=torch.float64, generator=generator).requires_grad_()
    weights = torch.rand(16, 50, dtype=torch.float64, generator=generator)
    pull = torch.randn(70, 50, 3, dtype=torch.float64, generator=generator)
    fast, plain = Blend.apply(affine, shaped, weights), blend(affine, shaped, weights)
    torch.testing.assert_close(fast, plain)
    wanted = torch.autograd.grad(plain, (affine, shaped), pull)
    torch.testing.assert_close(torch.autograd.grad(fast, (affine, shaped), pull), wanted)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")  # torch.func's own
@pytest.mark.parametrize("batch", [(), (9,)])
def test_jacobians_through_torch_func(batch: tuple[int, ...]) -> None:
    layer = ManoLayer(load_hand("open"), num_pca=2)
    poses, betas = build_inputs(3, *batch, pose=2)["hand_pose"], torch.ones(*batch, 10, dtype=torch.float64)

    def tips(pose: Tensor) -> Tensor:
        joints = layer(hand_pose=pose, betas=betas).joints[..., [4, 8], :]
        return joints.sum(0) if batch else joints

    backward = torch.autograd.functional.jacobian(tips, poses[1])
    torch.testing.assert_close(torch.func.jacfwd(tips)(poses[1]), backward)
    torch.testing.assert_close(torch.func.vmap(torch.func.jacrev(tips))(poses)[1], backward)
    torch.testing.assert_close(torch.func.vmap(torch.func.jacfwd(tips))(poses)[1], backward)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("angle", [0.0, 1e-12, 1e-7, 1e-3, 1.0, np.pi - 1e-7, np.pi, np.pi + 1e-7, 2 * np.pi, 40.0])
def test_rotations_are_finite_and_right(angle: float, dtype: torch.dtype) -> None:
    axis = torch.tensor([[0.48, -0.6, 0.64]], dtype=torch.float64)
    vector = (axis * angle).to(dtype).requires_grad_()
    matrix = rotations(vector, build_quadratic().to(dtype), torch.eye(3, dtype=dtype).flatten()).view(3, 3)
    expected = torch.matrix_exp(torch.linalg.cross(torch.eye(3, dtype=torch.float64), axis * angle))
    tolerance = 1e-12 if dtype == torch.float64 else 4e-6
    torch.testing.assert_close(matrix.double(), expected, atol=tolerance, rtol=0)
    assert bool(torch.autograd.grad(matrix.sum(), vector)[0].isfinite().all())


@pytest.mark.parametrize("num_pca", [None, 9])
def test_float32_gradients_at_zero_are_finite(num_pca: int | None) -> None:
    layer = ManoLayer(load_hand("open"), num_pca=num_pca)
    inputs = {name: value.requires_grad_() for name, value in build_inputs(2, scale=0.0, dtype=torch.float32).items()}
    inputs["hand_pose"] = torch.zeros(2, num_pca or 45, requires_grad=True)
    gradients = torch.autograd.grad(layer(**inputs).vertices.square().sum(), list(inputs.values()), create_graph=True)
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)
    second = torch.autograd.grad(sum(gradient.sum() for gradient in gradients), list(inputs.values()))
    assert all(bool(gradient.isfinite().all()) for gradient in second)


def test_global_orient_turns_about_the_wrist(layer: ManoLayer) -> None:
    inputs = build_inputs(4)
    turn = build_inputs(4, scale=1.0)["transl"]
    before = layer(**inputs)
    orient = compose_axis_angle(inputs["global_orient"], turn)
    after = layer(**{**inputs, "global_orient": orient})
    wrist, matrix = before.joints[:, :1], axis_angle_to_matrix(turn)
    turned = (before.vertices - wrist) @ matrix.mT + wrist
    torch.testing.assert_close(after.vertices, turned, atol=1e-6, rtol=0)  # the angles themselves pass through roma
    torch.testing.assert_close(after.joints[:, 0], before.joints[:, 0])


def test_left_is_the_mirror_of_right(layer: ManoLayer) -> None:
    left = ManoLayer(load_hand("open", "left"))
    inputs = build_inputs(4)
    flip = torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
    mirrored = {
        "global_orient": mirror_axis_angle(inputs["global_orient"]),
        "hand_pose": mirror_axis_angle(inputs["hand_pose"].view(4, 15, 3)).flatten(1),
        "betas": inputs["betas"],
        "transl": inputs["transl"] * flip,
    }
    torch.testing.assert_close(left(**mirrored).vertices, layer(**inputs).vertices * flip)
    torch.testing.assert_close(left(**mirrored).joints, layer(**inputs).joints * flip)
    coefficients = build_inputs(4, pose=8)["hand_pose"]
    by_pca = [ManoLayer(load_hand("open", side), 8, False)(hand_pose=coefficients) for side in ("right", "left")]
    torch.testing.assert_close(by_pca[1].vertices, by_pca[0].vertices * flip)


def test_pca_equals_its_expansion(layer: ManoLayer) -> None:
    hand = layer.hand
    coefficients = build_inputs(3, pose=11)["hand_pose"]
    expanded = coefficients @ torch.tensor(hand.hands_components[:11])
    flat = ManoLayer(hand, num_pca=11)(hand_pose=coefficients)
    torch.testing.assert_close(flat.vertices, layer(hand_pose=expanded).vertices)
    mean = ManoLayer(hand, num_pca=11, flat_hand_mean=False)(hand_pose=coefficients)
    torch.testing.assert_close(mean.vertices, layer(hand_pose=expanded + torch.tensor(hand.hands_mean)).vertices)
    assert float((mean.vertices - flat.vertices).abs().max()) > 1e-3


def test_matrices_equal_axis_angles(layer: ManoLayer) -> None:
    inputs = build_inputs(3, 2)
    pose = torch.cat([inputs["global_orient"], inputs["hand_pose"]], dim=-1).unflatten(-1, (16, 3))
    output = layer.from_matrices(axis_angle_to_matrix(pose), betas=inputs["betas"], transl=inputs["transl"])
    torch.testing.assert_close(output.vertices, layer(**inputs).vertices)
    assert output.joints.shape == (3, 2, 21, 3)


@pytest.mark.parametrize("batch", [(), (1,), (3,), (2, 3), (2, 1, 2), (0,), (2, 0)])
def test_batch_equals_loop(layer: ManoLayer, batch: tuple[int, ...]) -> None:
    inputs = build_inputs(*batch)
    output = layer(**inputs)
    assert output.vertices.shape == (*batch, 778, 3)
    assert output.joints.shape == (*batch, 21, 3)
    for index in np.ndindex(*batch):
        alone = layer(**{name: value[index] for name, value in inputs.items()})
        torch.testing.assert_close(output.vertices[index], alone.vertices)
        torch.testing.assert_close(output.joints[index], alone.joints)


def test_leading_dimensions_broadcast(layer: ManoLayer) -> None:
    inputs = build_inputs(2, 3)
    shape, shift = inputs["betas"][0, 0], inputs["transl"][:, :1]
    output = layer(hand_pose=inputs["hand_pose"], betas=shape, transl=shift)
    explicit = layer(hand_pose=inputs["hand_pose"], betas=shape.expand(2, 3, 10), transl=shift.expand(2, 3, 3))
    assert torch.equal(output.vertices, explicit.vertices)
    shape.requires_grad_()
    gradient = torch.autograd.grad(layer(hand_pose=inputs["hand_pose"], betas=shape).vertices.sum(), shape)[0]
    assert gradient.shape == (10,)


def test_dtypes(layer: ManoLayer) -> None:
    assert layer(betas=torch.ones(10, dtype=torch.float16)).vertices.dtype == torch.float32
    mixed = layer(betas=torch.ones(10), transl=torch.ones(3, dtype=torch.float64))
    assert mixed.joints.dtype == torch.float64
    inputs = build_inputs(2, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = layer(**inputs)
    torch.testing.assert_close(inside.vertices, layer(**inputs).vertices, atol=1e-6, rtol=0)


def test_mano_arrays_stay_out_of_the_state_dict(layer: ManoLayer) -> None:
    assert layer.state_dict() == {}
    assert layer.faces.shape == (1538, 3)
    assert layer.faces.dtype == torch.int64


def test_wrong_sizes_are_said(layer: ManoLayer) -> None:
    with pytest.raises(HandkitError, match=r"hand_pose has shape \(2, 6\)") as caught:
        layer(hand_pose=torch.zeros(2, 6))
    assert "45" in caught.value.fix
    with pytest.raises(HandkitError, match="num_pca is 46"):
        ManoLayer(layer.hand, num_pca=46)
