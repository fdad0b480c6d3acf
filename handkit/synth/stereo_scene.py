"""What is before a stereo camera: a likely pose, how a hand is held before its owner's eyes, how far, and the wall.

Convention: rectified pair, left camera's frame (OpenCV axes, metres); the right camera is `baseline` to its right, so
x_right = x_left - (baseline, 0, 0) and a point at depth Z lies focal * baseline / Z pixels further left in its picture.
"""

from functools import lru_cache
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray

from handkit.errors import HandkitError
from handkit.hand.layer import ManoLayer
from handkit.hand.limits import LIMITS_DEG, angles_to_pose, joint_frames, pose_to_angles, sample_angles
from handkit.hand.model import HandModel
from handkit.synth.penetration import penetration

COMPONENTS: Final = 6
_TRIES: Final = 200
_SPREAD_POSES, _SPREAD_SEED = 20_000, 0
# How an owner's forearm comes into view, degrees: from straight below, more from the hand's own side, towards the eyes.
_SIDEWAYS_DEG: Final = (15.0, 30.0, -60.0, 90.0)  # mean, standard deviation, limits
_TOWARDS_DEG: Final = (-10.0, 55.0)
_ROLL_DEG: Final = 80.0  # how far palm or back turns away about the forearm
_EYE_RELIEF_M, _FOREARM_M = 0.1, 0.4  # an elbow stays that far in front of the lens
_STRAIGHT_M: Final = 0.3  # of a forearm that has left the picture by then no end is seen
_MARGIN_PX: Final = 2.0
# The wall or table behind: depth in the middle, how much nearer or farther it gets towards the picture's edges.
_WALL_M: Final = (1.0, 4.0)
_NEAREST_WALL_M: Final = 1.0
_TILT: Final = (0.0, 0.6)
_SLANT: Final = 0.3


class StereoCamera(NamedTuple):
    """Two pinhole cameras alike, side by side."""

    width: int
    height: int
    focal_px: float
    baseline_m: float

    @property
    def K(self) -> NDArray[np.float64]:
        """[3, 3], the principal point in the middle."""
        return np.array([[self.focal_px, 0, self.width / 2], [0, self.focal_px, self.height / 2], [0, 0, 1]])

    def project(self, points: Float[np.ndarray, "*B 3"]) -> Float[np.ndarray, "*B 3"]:
        """Pixel x, y and depth of points in the frame of either camera, float64."""
        points = np.asarray(points, np.float64)
        middle = np.array([self.width / 2, self.height / 2])
        return np.concatenate([self.focal_px * points[..., :2] / points[..., 2:] + middle, points[..., 2:]], -1)

    def to_right(self, points: Float[np.ndarray, "*B 3"]) -> Float[np.ndarray, "*B 3"]:
        """Points of the left camera's frame in the right one's, float64."""
        return np.asarray(points, np.float64) - np.array([self.baseline_m, 0, 0])

    def rig(self) -> dict[str, Any]:
        """What a rig file holds of the pair (see `handkit.refine.rig`), the left camera first."""
        alike = {"K": self.K.tolist(), "R": np.eye(3).tolist(), "size": [self.width, self.height]}
        places = {"left": [0.0, 0.0, 0.0], "right": [-self.baseline_m, 0.0, 0.0]}
        return {"unit_m": 1.0, "views": [{"name": name, **alike, "T": place} for name, place in places.items()]}


@lru_cache(maxsize=4)
def pca_spread(hand: HandModel) -> Float[np.ndarray, " 45"]:
    """Standard deviation of a hand's PCA coefficients over natural poses within the joint limits."""
    angles = sample_angles(_SPREAD_POSES, np.random.default_rng(_SPREAD_SEED))
    poses = angles_to_pose(torch.from_numpy(angles), joint_frames(hand)).numpy()
    return ((poses - hand.hands_mean) @ np.linalg.pinv(hand.hands_components)).std(0)


def sample_theta(rng: np.random.Generator, hand: HandModel, layer: ManoLayer) -> Float[np.ndarray, " 6"]:
    """Normal coefficients of six PCA components, drawn again while a joint is beyond its limits or flesh in flesh.

    `layer` is the hand's of six components and with its mean pose. Raises HandkitError where no draw is possible.
    """
    spread = pca_spread(hand)[:COMPONENTS]
    drawn = rng.standard_normal((_TRIES, COMPONENTS)) * spread
    poses = hand.hands_mean + drawn @ hand.hands_components[:COMPONENTS]
    angles = np.rad2deg(pose_to_angles(torch.from_numpy(poses), joint_frames(hand)).numpy())
    within = ((angles >= LIMITS_DEG[..., 0]) & (angles <= LIMITS_DEG[..., 1])).all((1, 2))
    for theta in drawn[within]:
        joints = layer(hand_pose=torch.from_numpy(theta)).joints.numpy()
        if hand.side == "left":
            joints = joints * [-1, 1, 1]
        if penetration((joints - joints[:1])[None])[0][0] <= 0:
            return theta
    raise HandkitError(
        f"the PCA components of the hand {hand.name} give no possible pose", 'use the hand "open", or a MANO file'
    )


class Hold(NamedTuple):
    """How a hand is held."""

    rotation: NDArray[np.float64]  # camera_from_hand [3, 3]
    forearm: NDArray[np.float64]  # unit vector [3] from the wrist to the elbow


def sample_hold(rng: np.random.Generator, *, side: str, palm: bool) -> Hold:
    """A hand that its owner looks at: the palm, or else the back, faces the camera within 80 degrees.

    The forearm comes from below and from the hand's own side.
    """
    mean, deviation, low, high = _SIDEWAYS_DEG
    own = 1.0 if side == "right" else -1.0
    sideways = own * np.deg2rad(np.clip(rng.normal(mean, deviation), low, high))
    towards = np.deg2rad(rng.uniform(*_TOWARDS_DEG))
    roll = np.deg2rad(rng.uniform(-_ROLL_DEG, _ROLL_DEG)) + (0.0 if palm else np.pi)
    forearm = np.array([np.sin(sideways) * np.cos(towards), np.cos(sideways) * np.cos(towards), -np.sin(towards)])
    fingers = -forearm
    facing = np.array([0.0, 0.0, -1.0])
    facing -= (facing @ fingers) * fingers
    facing /= np.linalg.norm(facing)
    normal = np.cos(roll) * facing + np.sin(roll) * np.cross(fingers, facing)
    # At rest the fingers of a right hand point to -x, its palm to -y.
    rotation = np.stack([-own * fingers, -normal, own * np.cross(fingers, normal)], axis=1)
    return Hold(rotation, forearm)


def forearm_depths(
    forearm: Float[np.ndarray, " 3"], root: Float[np.ndarray, " 3"], camera: StereoCamera
) -> tuple[float, float]:
    """Least and greatest depth of a wrist on the ray of x = `root[0]`, y = `root[1]` that suit its forearm.

    The elbow stays in front of the lens, and where the forearm ends neither picture shows.
    """
    nearest = _EYE_RELIEF_M + _FOREARM_M * max(-float(forearm[2]), 0.0)
    end = _STRAIGHT_M * forearm
    half = np.array([camera.width, camera.height]) / 2
    farthest = []
    for eye in (0.0, camera.baseline_m):
        reach = np.abs(root[:2] - [eye, 0] + end[:2]) * camera.focal_px / half
        farthest.append(float(reach.max() - end[2]))
    return nearest, min(farthest)


def least_depth(points: Float[np.ndarray, "V 3"], root: Float[np.ndarray, " 3"], camera: StereoCamera) -> float:
    """The depth at which a hand, its wrist on the ray of x = `root[0]`, y = `root[1]`, just fits in both pictures.

    points: metres about the wrist, camera axes.
    """
    half = np.array([camera.width, camera.height]) / 2 - _MARGIN_PX
    from_left = points[:, :2] + root[:2]
    from_right = from_left - [camera.baseline_m, 0]
    reach = np.maximum(np.abs(from_left), np.abs(from_right)) / half
    return float((camera.focal_px * reach.max(1) - points[:, 2]).max())


class Wall(NamedTuple):
    """A plane behind the hand: disparity(x, y) = across * x + down * y + offset in pixels, x, y of the middle view."""

    across: float
    down: float
    offset: float


def sample_wall(rng: np.random.Generator, camera: StereoCamera) -> Wall:
    """A plane between table and far wall, nowhere nearer than a metre, its lower part mostly the nearer one."""
    depth = rng.uniform(*_WALL_M)
    tilt, slant = rng.uniform(*_TILT), rng.uniform(-_SLANT, _SLANT)
    shift = camera.focal_px * camera.baseline_m
    middle = min(shift / depth, shift / _NEAREST_WALL_M / (1 + tilt + abs(slant)))
    across, down = 2 * middle * slant / camera.width, 2 * middle * tilt / camera.height
    return Wall(across, down, middle - across * camera.width / 2 - down * camera.height / 2)


def patch_size(camera: StereoCamera) -> int:
    """Side of the square picture that `show_wall` takes: about half of what it covers, a far wall being unsharp."""
    return int(np.ceil(max(_covered_width(camera), camera.height) / 2))


def show_wall(
    picture: UInt8[np.ndarray, "S S 3"], wall: Wall, camera: StereoCamera
) -> tuple[UInt8[np.ndarray, "H W 3"], UInt8[np.ndarray, "H W 3"]]:
    """The picture on the wall as the left and the right camera see it."""
    zoom = max(_covered_width(camera), camera.height) / len(picture)
    # middle view from picture, both in pixels with centres at +0.5; then each eye sees half of the disparity
    middle = np.array([[zoom, 0, camera.width / 2], [0, zoom, camera.height / 2]])
    middle[:, 2] -= zoom * len(picture) / 2
    soft = cv2.GaussianBlur(picture, (0, 0), 0.35 * zoom)  # what is enlarged shows no grain
    views = []
    for eye in (0.5, -0.5):
        eye_from_middle = np.array(
            [[1 + eye * wall.across, eye * wall.down, eye * wall.offset], [0, 1, 0], [0, 0, 1.0]]
        )
        affine = eye_from_middle[:2, :2] @ middle
        affine[:, 2] += eye_from_middle[:2, 2]
        affine[:, 2] += 0.5 * affine[:, :2].sum(1) - 0.5  # OpenCV counts pixel centres from 0
        size = (camera.width, camera.height)
        views.append(cv2.warpAffine(soft, affine, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101))
    return views[0], views[1]


def _covered_width(camera: StereoCamera) -> float:
    return camera.width + camera.focal_px * camera.baseline_m / _NEAREST_WALL_M + 2
