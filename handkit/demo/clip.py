"""The built-in clip: the open hand moving over a photograph that scikit-image ships, and its known truth.

Convention: 640 x 480 pixels, 30 frames a second, a camera of 620 px focal length; `truth.npz` beside the clip holds
joints_3d [T, 21, 3] (metres, camera frame), joints_2d [T, 21, 2] (pixels) and K.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import roma
import torch
from jaxtyping import Float

from handkit.demo.camera import Camera, matrix_from_intrinsics
from handkit.demo.hands import project_rows
from handkit.demo.inputs import Unit
from handkit.demo.results import HANDS
from handkit.export.predictions import load_predictions
from handkit.files import atomic_path
from handkit.hand import HandModel, ManoLayer, load_hand
from handkit.hand.limits import angles_to_pose, joint_frames, sample_angles
from handkit.images import RgbImage
from handkit.metrics import acceleration_mm_per_frame2, epe_2d_px, pa_mpjpe_mm
from handkit.render.lit import render_lit
from handkit.video import VideoWriter

NAME: Final = "clip"
FRAMES: Final = 60
FPS: Final = 30.0
SIZE: Final = (640, 480)
_K: Final = matrix_from_intrinsics(620.0, 620.0, 320.0, 240.0)
# A new pose every so many frames, reached and left at rest.
_FRAMES_PER_POSE: Final = 20
# Fingers up, palm to the camera: hand axes x, y, z as columns in camera axes.
_FACING: Final = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
_SKIN: Final = (0.86, 0.66, 0.55)


@dataclass(frozen=True)
class ClipScore:
    """The pipeline's result on the clip against its truth, over the frames where the hand was found."""

    pa_mpjpe_mm: float
    error_2d_px: float
    detection_rate: float
    acceleration_mm_per_frame2: float
    true_acceleration_mm_per_frame2: float

    def to_json(self) -> dict[str, float | None]:
        return {name: round(value, 4) if np.isfinite(value) else None for name, value in asdict(self).items()}


def clip_camera() -> Camera:
    """The camera the clip was made with."""
    return Camera(_K, "built-in clip")


def make_clip(folder: Path, seed: int = 0, frames: int = FRAMES) -> Path:
    """Write clip.mp4 and truth.npz into a folder, the same for the same seed; gives the clip's path."""
    hand = load_hand("open", "right")
    vertices, joints = _motion(hand, seed, frames)
    background = _background()
    colors = _SKIN if hand.vertex_colors is None else hand.vertex_colors
    with VideoWriter(folder / "clip.mp4", fps=FPS, crf=18) as writer:
        for mesh in vertices:
            writer.write(render_lit(background, mesh, hand.faces, _K, colors=colors))
    with atomic_path(folder / "truth.npz") as partial, partial.open("wb") as file:
        joints_2d = project_rows(joints, np.broadcast_to(_K, (frames, 3, 3)))
        np.savez_compressed(file, joints_3d=joints, joints_2d=joints_2d, K=_K, seed=seed)
    return folder / "clip.mp4"


def clip_unit(out: Path, seed: int) -> Unit:
    """The clip as an input; made anew only where it is missing or of another seed, so that a second run skips it."""
    folder = out / NAME
    truth = folder / "truth.npz"
    if not (folder / "clip.mp4").is_file() or not truth.is_file() or int(np.load(truth)["seed"]) != seed:
        make_clip(folder, seed)
    return Unit("video", NAME, (folder / "clip.mp4",))


def score_clip(folder: Path) -> ClipScore:
    """Compare a folder's hands.npz with the truth beside it; of several hands in a frame the surest counts."""
    truth = np.load(folder / "truth.npz")
    rows = load_predictions(folder / HANDS)
    rows = rows.rows(np.argsort(-rows.score, kind="stable"))
    frames, first = np.unique(rows.frame, return_index=True)
    rows = rows.rows(first)
    pred, target = torch.from_numpy(rows.joints_3d), torch.from_numpy(truth["joints_3d"][frames])
    found = torch.zeros(len(truth["joints_3d"]), dtype=torch.bool)
    found[frames] = True
    moving = torch.zeros(len(found), 21, 3)
    moving[frames] = pred
    error_2d = epe_2d_px(torch.from_numpy(rows.joints_2d), torch.from_numpy(truth["joints_2d"][frames]))
    return ClipScore(
        pa_mpjpe_mm=float(pa_mpjpe_mm(pred, target).mean()),
        error_2d_px=float(error_2d.mean()),
        detection_rate=len(frames) / len(found),
        acceleration_mm_per_frame2=float(acceleration_mm_per_frame2(moving, found)),
        true_acceleration_mm_per_frame2=float(acceleration_mm_per_frame2(torch.from_numpy(truth["joints_3d"]))),
    )


def _motion(
    hand: HandModel, seed: int, frames: int
) -> tuple[Float[np.ndarray, "T 778 3"], Float[np.ndarray, "T 21 3"]]:
    """Natural poses eased into one another while the hand drifts and turns slowly."""
    rng = np.random.default_rng((seed, 0))
    keys = sample_angles(2 + frames // _FRAMES_PER_POSE, rng, "natural")
    step, phase = np.divmod(np.arange(frames), _FRAMES_PER_POSE)
    ease = (0.5 - 0.5 * np.cos(np.pi * phase / _FRAMES_PER_POSE))[:, None, None]
    angles = (1 - ease) * keys[step] + ease * keys[step + 1]
    pose = angles_to_pose(torch.from_numpy(angles), joint_frames(hand))
    turn = 2 * np.pi * np.arange(frames) / FRAMES
    offsets = rng.uniform(0, 2 * np.pi, 6)
    tilt = 0.3 * np.stack([np.sin(turn + offset) for offset in offsets[:3]], 1)
    rotation = roma.rotvec_to_rotmat(torch.from_numpy(tilt)) @ torch.from_numpy(_FACING)
    path = np.stack([np.sin(turn + offset) for offset in offsets[3:]], 1) * (0.06, 0.025, 0.04) + (0.0, 0.07, 0.44)
    betas = torch.from_numpy(rng.normal(0, 0.7, 10))
    with torch.no_grad():
        output = ManoLayer(hand)(
            global_orient=roma.rotmat_to_rotvec(rotation), hand_pose=pose, betas=betas, transl=torch.from_numpy(path)
        )
    return output.vertices.numpy(), output.joints.numpy()


def _background() -> RgbImage:
    """A photograph from scikit-image's wheel, filling the frame."""
    from skimage import data

    photograph = data.coffee()
    height, width = photograph.shape[:2]
    margin = (width - height * SIZE[0] // SIZE[1]) // 2
    return cv2.resize(photograph[:, margin : width - margin], SIZE, interpolation=cv2.INTER_CUBIC).astype(np.uint8)
