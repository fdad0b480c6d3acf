"""manopth's layer (hassony2/manopth at 4f1dcad) on handkit's hand: same arguments, same outputs, no chumpy.

Convention, manopth's: millimetres; the 21 joints wrist, thumb to little, base to tip; tips are vertices 745, 317, 444,
556, 673 (left hands 445 for the middle finger). Where it differs: a hand comes from handkit's own search if `mano_root`
is left at its default, the left file's shape directions are corrected unless `fix_left_shapedirs` is False, betas of
batch 1 broadcast, and the arrays stay out of the state dict (those in an old one are passed over).
"""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import roma
import torch
from torch import Tensor, nn

from handkit.conventions import FINGERTIP_VERTICES, PALM_VERTICES
from handkit.errors import HandkitError
from handkit.geometry.rotations import axis_angle_to_matrix, rotation_6d_to_matrix
from handkit.hand.layer import ManoLayer as _ManoLayer
from handkit.hand.model import HandModel, Side, find_hand_file, load_hand

logger = logging.getLogger("handkit")

_MANO_ROOT: Final = "mano/models"


class ManoLayer(nn.Module):
    """MANO as manopth gives it.

    `mano_root` is a folder with MANO_RIGHT.pkl or MANO_LEFT.pkl; at its default, and absent, it is the file that
    `handkit.hand.model.find_hand_file` finds, else the open hand, with a warning. `hand` (a HandModel or a name for
    `load_hand`) overrides it.
    """

    th_hands_mean: Tensor
    th_selected_comps: Tensor

    def __init__(
        self,
        center_idx: int | None = None,
        flat_hand_mean: bool = True,
        ncomps: int = 6,
        side: Side = "right",
        mano_root: str | Path = _MANO_ROOT,
        use_pca: bool = True,
        root_rot_mode: str = "axisang",
        joint_rot_mode: str = "axisang",
        robust_rot: bool = False,
        *,
        hand: HandModel | str | Path | None = None,
        fix_left_shapedirs: bool = True,
    ) -> None:
        super().__init__()
        _check_choice("side", side, ("right", "left"))
        _check_choice("root_rot_mode", root_rot_mode, ("axisang", "rot6d"))
        _check_choice("joint_rot_mode", joint_rot_mode, ("axisang", "rotmat"))
        self.center_idx = center_idx
        self.flat_hand_mean = flat_hand_mean
        self.side = side
        self.use_pca = use_pca
        self.root_rot_mode = root_rot_mode
        self.joint_rot_mode = joint_rot_mode
        self.robust_rot = robust_rot
        self.rot = 3 if root_rot_mode == "axisang" else 6
        self.ncomps = ncomps if use_pca else 45
        model = hand if isinstance(hand, HandModel) else _find(hand, mano_root, side, fix_left_shapedirs)
        tips = FINGERTIP_VERTICES["manopth" if side == "right" else "manopth_left"]
        self.layer = _ManoLayer(replace(model, tip_vertices=tips))
        self.kintree_parents = model.parents.tolist()
        self._register(model, ncomps)

    def _register(self, hand: HandModel, ncomps: int) -> None:
        mean = hand.hands_mean * (not self.flat_hand_mean)
        arrays = {
            "th_betas": torch.zeros(1, 10),
            "th_shapedirs": torch.tensor(hand.shapedirs),
            "th_posedirs": torch.tensor(hand.posedirs),
            "th_v_template": torch.tensor(hand.v_template)[None],
            "th_J_regressor": torch.tensor(hand.J_regressor),
            "th_weights": torch.tensor(hand.lbs_weights),
            "th_hands_mean": torch.tensor(mean)[None],
            "th_comps": torch.tensor(hand.hands_components),
            "th_selected_comps": torch.tensor(hand.hands_components[:ncomps]),
        }
        for name, array in arrays.items():
            self.register_buffer(name, array.float(), persistent=False)
        self.register_buffer("th_faces", torch.tensor(hand.faces), persistent=False)

    def forward(
        self,
        th_pose_coeffs: Tensor,
        th_betas: Tensor | None = None,
        th_trans: Tensor | None = None,
        root_palm: Tensor | bool = False,
        share_betas: Tensor | bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Vertices [B, 778, 3] and joints [B, 21, 3] in millimetres.

        `th_pose_coeffs` [B, rot + ncomps] is the root rotation then the pose, anything beyond cut off without a word;
        with joint_rot_mode "rotmat" and no PCA it is [B, 16, 3, 3], projected onto rotations, the mean pose left out.
        A `th_trans` [B, 3] (metres) that is not zero is added; else, with `center_idx`, that joint becomes the origin.
        `root_palm` puts the palm, the mean of vertices 95 and 22, in the wrist's place; `share_betas` averages betas
        over the batch. Betas of one element and a trans of zeros, manopth's defaults, count as not given.
        """
        betas = None if th_betas is None or th_betas.numel() == 1 else th_betas
        if betas is not None and bool(share_betas):
            betas = betas.mean(0, keepdim=True)
        vertices, joints = self.layer.from_matrices(self._matrices(th_pose_coeffs), betas=betas)
        if bool(root_palm):
            palm = vertices[:, list(PALM_VERTICES)].mean(1, keepdim=True)
            joints = torch.cat([palm, joints[:, 1:]], dim=1)
        if th_trans is not None and bool(torch.norm(th_trans) != 0):
            offset = th_trans.unsqueeze(1)
            vertices, joints = vertices + offset, joints + offset
        elif self.center_idx is not None:
            center = joints[:, self.center_idx].unsqueeze(1)
            vertices, joints = vertices - center, joints - center
        return vertices * 1000, joints * 1000

    def _matrices(self, coeffs: Tensor) -> Tensor:
        """Rotation matrices [B, 16, 3, 3] of the pose in whichever form it is given."""
        if not self.use_pca and self.joint_rot_mode == "rotmat":
            if coeffs.ndim != 4 or coeffs.shape[1:] != (16, 3, 3):
                raise HandkitError(
                    f"a pose of shape {tuple(coeffs.shape)}", 'joint_rot_mode "rotmat" takes [B, 16, 3, 3]'
                )
            return roma.special_procrustes(coeffs)
        if coeffs.ndim != 2 or coeffs.shape[1] < self.rot + self.ncomps:
            raise HandkitError(
                f"a pose of shape {tuple(coeffs.shape)}", f"it must be [B, {self.rot + self.ncomps}] or wider"
            )
        root, pose = coeffs[:, : self.rot], coeffs[:, self.rot : self.rot + self.ncomps]
        if self.use_pca:
            pose = pose @ self.th_selected_comps.to(pose.dtype)
        pose = (pose + self.th_hands_mean.to(pose.dtype)).view(-1, 15, 3)
        if self.root_rot_mode == "axisang":
            return axis_angle_to_matrix(torch.cat([root.unsqueeze(1), pose], dim=1))
        return torch.cat([_rot6d_to_matrix(root, self.robust_rot).unsqueeze(1), axis_angle_to_matrix(pose)], dim=1)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for key in [key for key in state_dict if key.startswith(f"{prefix}th_")]:
            del state_dict[key]
        super()._load_from_state_dict(state_dict, prefix, *args)


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise HandkitError(f"{name} is {value!r}", f"use {' or '.join(choices)}")


def _find(hand: str | Path | None, mano_root: str | Path, side: Side, fix_left_shapedirs: bool) -> HandModel:
    if hand is not None:
        source: str | Path = hand
    elif str(mano_root) != _MANO_ROOT or Path(mano_root).is_dir():
        source = mano_root
    elif find_hand_file(side) is not None:
        source = "mano"
    else:
        logger.warning("no MANO file was found: manopth's layer runs on the open hand")
        source = "open"
    return load_hand(source, side, fix_left_shapedirs=fix_left_shapedirs)


def _rot6d_to_matrix(rot6d: Tensor, robust: bool) -> Tensor:
    """Matrices [B, 3, 3] of two columns one after the other [B, 6]; `robust` treats both columns alike."""
    if robust:
        x, y = (nn.functional.normalize(column, dim=1) for column in rot6d.split(3, dim=1))
        middle, across = nn.functional.normalize(x + y, dim=1), nn.functional.normalize(x - y, dim=1)
        rot6d = torch.cat([middle + across, middle - across], dim=1)
    return rotation_6d_to_matrix(rot6d)
