"""manopth's interface: its defaults, millimetres, order, tips, centring, palm root and rotation modes."""

import inspect
import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from handkit.errors import HandkitError
from handkit.geometry.rotations import axis_angle_to_matrix, matrix_to_rotation_6d
from handkit.hand import ManoLayer as OurLayer
from handkit.hand import load_hand
from handkit.hand.manopth import ManoLayer

TIPS = [4, 8, 12, 16, 20]


def build_pose(width: int, batch: int = 3) -> torch.Tensor:
    return 0.4 * torch.randn(batch, width, generator=torch.Generator().manual_seed(5))


def test_convention_arguments_and_defaults() -> None:
    arguments = {
        name: parameter.default
        for name, parameter in inspect.signature(ManoLayer.__init__).parameters.items()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD and name != "self"
    }
    assert arguments == {
        "center_idx": None,
        "flat_hand_mean": True,
        "ncomps": 6,
        "side": "right",
        "mano_root": "mano/models",
        "use_pca": True,
        "root_rot_mode": "axisang",
        "joint_rot_mode": "axisang",
        "robust_rot": False,
    }
    called = list(inspect.signature(ManoLayer.forward).parameters)[1:]
    assert called == ["th_pose_coeffs", "th_betas", "th_trans", "root_palm", "share_betas"]


def test_millimetres_order_and_tips(mano_folder: Path) -> None:
    layer = ManoLayer(mano_root=mano_folder, flat_hand_mean=False, ncomps=12)
    pose, betas = build_pose(15), build_pose(10)
    vertices, joints = layer(pose, betas)
    ours = OurLayer(load_hand(mano_folder), num_pca=12, flat_hand_mean=False)
    expected = ours(global_orient=pose[:, :3], hand_pose=pose[:, 3:], betas=betas)
    torch.testing.assert_close(vertices, expected.vertices * 1000, atol=1e-3, rtol=0)
    base = [joint for joint in range(21) if joint not in TIPS]
    torch.testing.assert_close(joints[:, base], expected.joints[:, base] * 1000, atol=1e-3, rtol=0)
    torch.testing.assert_close(joints[:, TIPS], vertices[:, [745, 317, 444, 556, 673]])


def test_left_tips(mano_folder: Path) -> None:
    vertices, joints = ManoLayer(mano_root=mano_folder, side="left")(build_pose(9))
    torch.testing.assert_close(joints[:, TIPS], vertices[:, [745, 317, 445, 556, 673]])
    betas = torch.ones(3, 10)
    corrected = ManoLayer(mano_root=mano_folder, side="left")(build_pose(9), betas)[0]
    faulty = ManoLayer(mano_root=mano_folder, side="left", fix_left_shapedirs=False)(build_pose(9), betas)[0]
    assert float((corrected - faulty).abs().max()) > 1


def test_pose_is_cut_without_a_word() -> None:
    layer = ManoLayer(hand="open", ncomps=6)
    long = build_pose(48)
    for given, cut in zip(layer(long), layer(long[:, :9]), strict=True):
        assert torch.equal(given, cut)
    axis_angles = ManoLayer(hand="open", use_pca=False)
    assert axis_angles.ncomps == 45
    assert torch.equal(axis_angles(build_pose(50))[0], axis_angles(build_pose(50)[:, :48])[0])
    with pytest.raises(HandkitError, match=r"\(3, 8\)"):
        layer(build_pose(8))


@pytest.mark.parametrize("center", [0, 9])
def test_center_and_translation(center: int) -> None:
    free, layer = ManoLayer(hand="open"), ManoLayer(center_idx=center, hand="open")
    pose, betas, trans = build_pose(9), build_pose(10), build_pose(3)
    vertices, joints = free(pose, betas)
    for none in (torch.zeros(1), None, torch.zeros(3, 3)):
        centred = layer(pose, betas, none)
        torch.testing.assert_close(centred[0], vertices - joints[:, [center]], atol=1e-3, rtol=0)
        assert torch.equal(centred[1][:, center], torch.zeros(3, 3))
    moved = layer(pose, betas, trans)
    torch.testing.assert_close(moved[0], vertices + trans[:, None] * 1000, atol=1e-3, rtol=0)
    torch.testing.assert_close(moved[1], joints + trans[:, None] * 1000, atol=1e-3, rtol=0)


def test_root_palm() -> None:
    vertices, joints = ManoLayer(hand="open")(build_pose(9), root_palm=torch.Tensor([1]))
    torch.testing.assert_close(joints[:, 0], (vertices[:, 95] + vertices[:, 22]) / 2)
    wrist = ManoLayer(hand="open")(build_pose(9), root_palm=torch.Tensor([0]))[1]
    assert torch.equal(joints[:, 1:], wrist[:, 1:])
    assert not torch.equal(joints[:, 0], wrist[:, 0])
    centred = ManoLayer(hand="open", center_idx=0)(build_pose(9), root_palm=torch.Tensor([1]))
    torch.testing.assert_close(centred[0][:, [95, 22]].mean(1), torch.zeros(3, 3), atol=1e-3, rtol=0)


def test_share_betas_and_no_betas() -> None:
    layer = ManoLayer(hand="open")
    pose, betas = build_pose(9), build_pose(10)
    shared = layer(pose, betas, share_betas=torch.Tensor([1]))[0]
    torch.testing.assert_close(shared, layer(pose, betas.mean(0, keepdim=True).expand(3, 10))[0])
    assert torch.equal(layer(pose)[0], layer(pose, torch.zeros(1))[0])
    assert torch.equal(layer(pose, torch.zeros(3, 10))[0], layer(pose, None)[0])


def test_rot6d() -> None:
    pose = build_pose(9)
    plain = ManoLayer(hand="open")
    matrix = axis_angle_to_matrix(pose[:, :3])
    expected = plain(pose)[0]
    six = matrix_to_rotation_6d(matrix)
    for robust in (False, True):
        layer = ManoLayer(hand="open", root_rot_mode="rot6d", robust_rot=robust)
        assert layer.rot == 6
        torch.testing.assert_close(layer(torch.cat([six, pose[:, 3:]], 1))[0], expected, atol=2e-3, rtol=0)
    skewed = torch.cat([six[:, :3] * 2, six[:, 3:] + 0.3 * six[:, :3], pose[:, 3:]], 1)
    torch.testing.assert_close(ManoLayer(hand="open", root_rot_mode="rot6d")(skewed)[0], expected, atol=2e-3, rtol=0)
    assert float((layer(skewed)[0] - expected).abs().max()) > 1  # the robust form shares the skew between the columns


def test_rotmat() -> None:
    pose = build_pose(48)
    by_angles = ManoLayer(hand="open", use_pca=False)(pose)
    layer = ManoLayer(hand="open", use_pca=False, joint_rot_mode="rotmat", flat_hand_mean=False)
    matrices = axis_angle_to_matrix(pose.view(3, 16, 3))
    for given in (matrices, matrices * 1.5):  # scaled ones are projected
        torch.testing.assert_close(layer(given)[0], by_angles[0], atol=2e-3, rtol=0)
    with pytest.raises(HandkitError, match=r"\(3, 48\)"):
        layer(pose)


def test_attributes_and_old_state_dicts(mano_folder: Path) -> None:
    layer = ManoLayer(mano_root=mano_folder, ncomps=10, flat_hand_mean=False)
    hand = load_hand(mano_folder)
    assert layer.th_faces.dtype == torch.int64
    assert layer.th_v_template.shape == (1, 778, 3)
    assert layer.th_selected_comps.shape == (10, 45)
    assert layer.th_betas.shape == (1, 10)
    np.testing.assert_allclose(layer.th_hands_mean[0].numpy(), hand.hands_mean, rtol=1e-6)
    np.testing.assert_allclose(layer.th_J_regressor.numpy(), hand.J_regressor, rtol=1e-6)
    assert layer.kintree_parents[1:] == [0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14]
    model = torch.nn.ModuleDict({"mano": layer, "head": torch.nn.Linear(2, 2)})
    old = {**model.state_dict(), "mano.th_v_template": torch.zeros(1, 778, 3), "mano.th_betas": torch.zeros(1, 10)}
    assert not [key for key in model.state_dict() if key.startswith("mano")]
    assert str(model.load_state_dict(old)) == "<All keys matched successfully>"
    assert float(layer.th_v_template.abs().max()) > 0


def test_where_the_hand_comes_from(
    mano_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("handkit.hand.manopth.find_hand_file", lambda side: None)
    with caplog.at_level(logging.WARNING, logger="handkit"):
        assert ManoLayer().layer.hand.name == "open"
    assert "runs on the open hand" in caplog.text
    with pytest.raises(HandkitError, match="no hand model"):
        ManoLayer(mano_root=tmp_path / "absent")
    with pytest.raises(HandkitError, match="root_rot_mode is 'quat'"):
        ManoLayer(root_rot_mode="quat")
    monkeypatch.undo()
    monkeypatch.setenv("HANDKIT_MANO", str(mano_folder))
    monkeypatch.chdir(tmp_path)
    assert ManoLayer().layer.hand.name == "mano"
    assert ManoLayer(hand=load_hand("open", "left"), side="left").layer.hand.side == "left"


def test_gradients_reach_every_input() -> None:
    layer = ManoLayer(hand="open", ncomps=10)
    inputs = [build_pose(size).requires_grad_() for size in (13, 10, 3)]
    gradients = torch.autograd.grad(sum(part.square().sum() for part in layer(*inputs)), inputs)
    assert all(bool((gradient.abs() > 0).all()) for gradient in gradients)
