"""Known open hands, and the same hands moved away from the truth."""

import numpy as np
import roma
import torch
from torch import Tensor

from handkit.fit.refine import HandState, View
from handkit.geometry import K_after_crop
from handkit.hand import HandModel, ManoLayer, load_hand
from handkit.hand.layer import HandOutput
from handkit.hand.limits import angles_to_pose, joint_frames, sample_angles
from handkit.render import to_pixels
from handkit.render.hard import rasterize

K = torch.tensor([[600.0, 0, 320], [0, 600.0, 240], [0, 0, 1]])
# Fingers up, palm to the camera.
FACING = roma.rotmat_to_rotvec(torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]]))


def known_hands(count: int, seed: int = 0) -> tuple[HandModel, HandState, HandOutput]:
    """Natural poses half a metre away, palm or so to the camera."""
    rng = np.random.default_rng((seed, 5))
    hand = load_hand("open")
    tilt = torch.from_numpy(rng.normal(0, 0.4, (count, 3))).float()
    state = HandState(
        global_orient=roma.rotvec_composition([tilt, FACING.expand(count, 3)]),
        hand_pose=angles_to_pose(torch.from_numpy(sample_angles(count, rng)), joint_frames(hand)).float(),
        betas=torch.from_numpy(rng.normal(0, 0.7, (count, 10))).float(),
        transl=torch.from_numpy(rng.uniform([-0.05, 0, 0.45], [0.05, 0.1, 0.6], (count, 3))).float(),
    )
    return hand, state, mesh_of(hand, state)


def mesh_of(hand: HandModel, state: HandState) -> HandOutput:
    return ManoLayer(hand)(
        global_orient=state.global_orient, hand_pose=state.hand_pose, betas=state.betas, transl=state.transl
    )


def moved(state: HandState, degrees: float, metres: float, seed: int = 0) -> HandState:
    """Every joint turned by `degrees` about an axis of its own, the hand shifted by `metres`."""
    rng = np.random.default_rng((seed, 6))
    count = len(state.transl)
    full = torch.cat([state.global_orient, state.hand_pose], 1).view(count, 16, 3)
    turned = roma.rotvec_composition([full, np.deg2rad(degrees) * _directions(rng, count, 16)]).reshape(count, 48)
    shift = metres * _directions(rng, count)
    return HandState(
        global_orient=turned[:, :3], hand_pose=turned[:, 3:], betas=state.betas, transl=state.transl + shift
    )


def crop_view(hand: HandModel, start: HandState, truth: HandOutput, size: int) -> View:
    """Crops about the moved hands, with the true hands' hard masks."""
    pixels = to_pixels(mesh_of(hand, start).vertices, K)[..., :2]
    low, high = pixels.amin(1), pixels.amax(1)
    crops = K_after_crop(K, (low + high) / 2, 1.3 * (high - low).amax(1), size)
    return View(K=crops, target=hard_masks(hand, truth.vertices, crops, (size, size)).float())


def hard_masks(hand: HandModel, vertices: Tensor, intrinsics: Tensor, size: tuple[int, int]) -> Tensor:
    pixels = to_pixels(vertices, intrinsics).detach().numpy()
    return torch.from_numpy(np.stack([rasterize(p, hand.faces, size=size).face_ids >= 0 for p in pixels]))


def _directions(rng: np.random.Generator, *shape: int) -> Tensor:
    vectors = rng.normal(size=(*shape, 3))
    return torch.from_numpy(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).float()
