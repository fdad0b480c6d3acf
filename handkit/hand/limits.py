"""Joint angles in an anatomical frame, their limits, and random poses within them.

Each of the 15 finger joints (MANO order: index, middle, little, ring, thumb, three each) has a right-handed frame F:
x along the rest bone towards the tip, y palmar, z the flexion axis. The local rotation is

    R = F Rz(flexion) Ry(-abduction) Rx(twist) F^T

Convention: angles [*B, 15, 3] = (flexion, abduction, twist) rad, zero at the flat rest pose. Positive flexion bends
towards the palm; positive abduction moves the tip towards the thumb's side, for the thumb itself towards the front of
the palm; positive twist turns about the bone pointing to the tip. The same numbers are the mirrored motion on a left
hand, whose frames are the right hand's turned by pi about x (so that axis-angle (x, -y, -z) comes out).
"""

from typing import Final, Literal, Protocol, runtime_checkable

import numpy as np
import roma
import torch
from jaxtyping import Float
from torch import Tensor

from handkit.conventions import FINGERS, MANO_FINGERS


@runtime_checkable
class RestHand(Protocol):
    """What the frames need of a `HandModel`; a hand still being built has it too."""

    @property
    def side(self) -> Literal["right", "left"]: ...
    @property
    def v_template(self) -> np.ndarray: ...
    @property
    def J_regressor(self) -> np.ndarray: ...
    @property
    def tip_vertices(self) -> tuple[int, int, int, int, int]: ...


# Palmar directions of the right rest hand; the thumb's pad faces the fingers' side as well as the palm's.
_FINGER_PALMAR: Final = (0.0, -1.0, 0.0)
_THUMB_PALMAR: Final = (-1.0, -1.0, -1.0)

# Degrees: ((flexion), (abduction), (twist)) for the three joints of each finger.
# Flexion. American Academy of Orthopaedic Surgeons, Joint Motion (1965): MCP -45..90, PIP 0..100, DIP 0..90, thumb MCP
# 0..50, IP -20..80. Eaton, Electronic Textbook of Hand Surgery: thumb MCP -10..55. Lin, Wu, Huang, Workshop on Human
# Motion (2000): PIP to 110, MCP abduction +-15. The MCP's passive extension is cut to 30; flexion gets 5 more, ring and
# little 10 and 15, because a MANO-like palm has no metacarpal joints; PIP and DIP reach 10 and 20 back because rest is
# slightly bent, the bone to a fingertip vertex most. Abduction counts from a rest pose with the fingers apart: index
# and middle have more room towards the little finger, ring and little towards the thumb.
# Thumb base. Cooney et al., J. Bone Joint Surg. 63A (1981): flexion arc 53, abduction arc 42, rotation 17; widened
# because one ball joint stands for the saddle and what the carpus adds, and because rest is one end of the arcs.
# Abduction and twist elsewhere: a frame along the bone is not the anatomical axis. Annotated hands (FreiHAND,
# InterHand2.6M, RHD, Hand Graph CNN) were looked at to see how much of that room is needed.
_HINGES: Final = (((-10, 110), (-10, 10), (-8, 8)), ((-20, 90), (-8, 8), (-5, 5)))
_LIMITS_BY_FINGER: Final = {
    "index": (((-30, 95), (-30, 25), (-10, 10)), *_HINGES),
    "middle": (((-30, 95), (-25, 20), (-10, 10)), *_HINGES),
    "little": (((-30, 105), (-25, 30), (-15, 15)), *_HINGES),
    "ring": (((-30, 100), (-20, 22), (-12, 12)), *_HINGES),
    "thumb": (
        ((-25, 60), (-30, 40), (-40, 30)),
        ((-20, 60), (-15, 15), (-12, 12)),
        ((-30, 85), (-12, 15), (-7, 7)),
    ),
}
LIMITS_DEG: Final = np.array([_LIMITS_BY_FINGER[finger] for finger in MANO_FINGERS], dtype=np.float64).reshape(15, 3, 2)

# S2HAND's ranges of the raw MANO axis-angle components (x, y, z), mean pose added: another set, with no frames.
_S2HAND_HINGE: Final = ((-5, 5), (-5, 5), (-10, 100))
_S2HAND_BASE: Final = ((-5, 5), (-10, 10), (-10, 100))
_S2HAND_BY_FINGER: Final = {
    "index": (_S2HAND_BASE, _S2HAND_HINGE, _S2HAND_HINGE),
    "middle": (_S2HAND_BASE, _S2HAND_HINGE, _S2HAND_HINGE),
    "little": (((-20, 5), (-10, 20), (-10, 100)), _S2HAND_HINGE, _S2HAND_HINGE),
    "ring": (_S2HAND_BASE, _S2HAND_HINGE, _S2HAND_HINGE),
    "thumb": (
        ((0, 90), (-22.5, 33.75), (-22.5, 22.5)),
        ((-5, 5), (-5, 5), (-22.5, 22.5)),
        ((-5, 5), (-5, 5), (-20, 100)),
    ),
}
S2HAND_RANGES_RAD: Final = np.deg2rad(
    np.array([_S2HAND_BY_FINGER[finger] for finger in MANO_FINGERS], dtype=np.float64)
).reshape(15, 3, 2)


def joint_frames(hand: RestHand) -> Float[Tensor, "15 3 3"]:
    """Frames of the 15 finger joints at the mean shape: columns x (bone), y (palmar), z (flexion axis); float64."""
    sign = np.array([-1.0 if hand.side == "left" else 1.0, 1.0, 1.0])
    joints = (hand.J_regressor @ hand.v_template) * sign
    tips = hand.v_template[list(hand.tip_vertices)] * sign
    frames = np.empty((15, 3, 3))
    for f, finger in enumerate(MANO_FINGERS):
        chain = np.vstack([joints[1 + 3 * f : 4 + 3 * f], tips[FINGERS.index(finger)]])
        palmar = np.array(_THUMB_PALMAR if finger == "thumb" else _FINGER_PALMAR)
        bones = np.diff(chain, axis=0)
        x = bones / np.linalg.norm(bones, axis=1, keepdims=True)
        z = np.cross(x, palmar)
        z /= np.linalg.norm(z, axis=1, keepdims=True)
        frames[3 * f : 3 * f + 3] = np.stack([x, np.cross(z, x), z], axis=-1)
    # axis-angle (x, -y, -z) of the right hand's rotation = the rotation in these turned frames
    turn = np.diag([1.0, -1.0, -1.0]) if hand.side == "left" else np.eye(3)
    return torch.from_numpy(turn @ frames)


def angles_to_pose(angles: Float[Tensor, "*B 15 3"], frames: Float[Tensor, "15 3 3"]) -> Float[Tensor, "*B 45"]:
    """Axis-angle hand pose (flat mean) of joint angles in rad; finite gradients also at zero."""
    flexion, abduction, twist = (angles / 2).unbind(-1)
    zero = torch.zeros_like(flexion)
    about_z = torch.stack([zero, zero, flexion.sin(), flexion.cos()], -1)
    about_y = torch.stack([zero, -abduction.sin(), zero, abduction.cos()], -1)
    about_x = torch.stack([twist.sin(), zero, zero, twist.cos()], -1)
    rotation = roma.quat_product(roma.quat_product(about_z, about_y), about_x)
    # F R(v) F^T = R(F v)
    local = roma.unitquat_to_rotvec(rotation)
    return torch.einsum("jab,...jb->...ja", frames.to(angles), local).flatten(-2)


def pose_to_angles(pose: Float[Tensor, "*B 45"], frames: Float[Tensor, "15 3 3"]) -> Float[Tensor, "*B 15 3"]:
    """Joint angles in rad of an axis-angle hand pose; abduction in [-pi/2, pi/2], the other two in [-pi, pi]."""
    local = torch.einsum("jba,...jb->...ja", frames.to(pose), pose.unflatten(-1, (15, 3)))
    R = roma.rotvec_to_rotmat(local)
    cosine = (R[..., 0, 0].square() + R[..., 1, 0].square()).clamp_min(torch.finfo(pose.dtype).tiny).sqrt()
    flexion = torch.atan2(R[..., 1, 0], R[..., 0, 0])
    abduction = torch.atan2(R[..., 2, 0], cosine)
    twist = torch.atan2(R[..., 2, 1], R[..., 2, 2])
    return torch.stack([flexion, abduction, twist], -1)


# Hand postures in degrees: MCP flexion of index, middle, ring, little; the same for PIP; how far the fingers spread
# (-1 closed, 0 as at rest, 1 wide); thumb base flexion, abduction, twist, then thumb MCP and IP flexion.
_POSTURES: Final = {
    "flat": ((0, 0, 0, 0), (0, 0, 0, 0), 0.0, (0, 0, 0, 0, 0)),
    "closed": ((2, 2, 2, 2), (3, 3, 3, 3), -1.0, (20, -15, 0, 5, 5)),
    "spread": ((-8, -5, -5, -8), (2, 2, 2, 2), 1.0, (-15, 10, 5, -5, -5)),
    "relaxed": ((18, 25, 30, 30), (25, 32, 35, 32), 0.0, (8, 5, -5, 10, 10)),
    "cup": ((35, 40, 42, 42), (35, 38, 38, 38), -0.3, (20, 20, -15, 12, 12)),
    "cylinder": ((45, 50, 55, 55), (55, 60, 60, 55), -0.3, (30, 20, -15, 20, 25)),
    "fist": ((75, 80, 82, 85), (95, 98, 98, 95), -0.6, (40, 0, -15, 35, 45)),
    "hook": ((5, 5, 5, 8), (88, 92, 92, 88), -0.5, (15, 0, 0, 15, 20)),
    "tabletop": ((75, 80, 80, 80), (6, 6, 6, 6), -0.7, (25, 5, -5, 10, 10)),
    "claw": ((-10, -10, -10, -10), (55, 58, 58, 55), 0.5, (0, 10, 0, 15, 30)),
    "point": ((5, 72, 78, 80), (5, 95, 95, 92), -0.2, (38, 0, -15, 30, 40)),
    "victory": ((2, 2, 76, 80), (4, 4, 95, 92), 0.8, (45, 5, -20, 30, 40)),
    "three": ((2, 2, 2, 78), (4, 4, 4, 85), 0.5, (48, 8, -25, 30, 40)),
    "four": ((0, 0, 0, 0), (2, 2, 2, 2), 0.5, (48, 5, -25, 35, 45)),
    "thumb up": ((75, 80, 82, 85), (95, 98, 98, 95), -0.6, (-18, -10, 10, -8, -10)),
    "shaka": ((70, 75, 75, 0), (92, 95, 92, 4), 0.3, (-18, 5, 5, -5, -5)),
    "horns": ((2, 75, 78, 2), (4, 95, 95, 5), 0.3, (42, 5, -20, 30, 40)),
    "gun": ((2, 72, 78, 80), (4, 95, 95, 92), 0.0, (-18, 5, 5, -5, -8)),
    "pinch": ((50, 30, 25, 22), (48, 30, 28, 25), 0.1, (30, 22, -25, 15, 25)),
    "pinch middle": ((25, 57, 32, 28), (25, 56, 32, 28), 0.0, (43, 24, -30, 18, 27)),
    "pinch ring": ((15, 20, 52, 50), (15, 20, 46, 42), 0.0, (50, 30, -35, 25, 30)),
    "tripod": ((48, 52, 60, 62), (48, 50, 65, 65), -0.4, (30, 22, -25, 15, 25)),
    "key": ((45, 55, 62, 66), (65, 72, 75, 72), -0.6, (22, -12, -5, 15, 25)),
}
# Abduction of index, middle, ring, little at spread 1 and -1.
_SPREAD_DEG: Final = np.array([[14.0, 3.0, -6.0, -13.0], [-4.0, 0.0, 7.0, 17.0]])
# Rows of the 15 joints (MANO order) at which the base joints of index, middle, ring, little stand.
_BASE_ROWS: Final = np.array([0, 3, 9, 6])
_THUMB_ROW: Final = 12
# Neighbouring fingers move together: correlation 0.75 per finger apart.
_NEIGHBOURS: Final = np.linalg.cholesky(0.75 ** np.abs(np.subtract.outer(np.arange(4), np.arange(4))))


def sample_angles(n: int, rng: np.random.Generator, kind: str = "natural") -> Float[np.ndarray, "n 15 3"]:
    """Random joint angles in rad, all within `LIMITS_DEG`.

    "uniform": independent within the limits, most of them unlikely. "natural": blends of everyday postures (fist,
    pointing, pinches, counting, relaxed, spread) with neighbouring fingers correlated and DIP near 2/3 of PIP.
    """
    low, high = LIMITS_DEG[..., 0], LIMITS_DEG[..., 1]
    if kind == "uniform":
        return np.deg2rad(rng.uniform(low, high, (n, 15, 3)))
    if kind != "natural":
        raise ValueError(f'kind must be "natural" or "uniform", not {kind!r}')
    mcp, pip, spread, thumb = _blend_postures(n, rng)
    angles = rng.normal(0.0, 1.5, (n, 15, 3))
    mcp += _finger_noise(n, rng, 8.0)
    pip += _finger_noise(n, rng, 8.0)
    angles[:, _BASE_ROWS, 0] += mcp
    angles[:, _BASE_ROWS + 1, 0] += pip
    angles[:, _BASE_ROWS + 2, 0] += 2 / 3 * pip + _finger_noise(n, rng, 4.0)
    # a flexed MCP cannot spread: its collateral ligaments are taut
    freedom = np.cos(np.deg2rad(np.clip(mcp, 0, 85)))
    spread = spread + rng.normal(0.0, 0.15, n)
    wide, closed = spread.clip(0, 1.1)[:, None] * _SPREAD_DEG[0], (-spread).clip(0, 1.1)[:, None] * _SPREAD_DEG[1]
    angles[:, _BASE_ROWS, 1] += freedom * (wide + closed)
    thumb = thumb + rng.normal(0.0, (6.0, 5.0, 4.0, 5.0, 7.0), (n, 5))
    angles[:, _THUMB_ROW] += thumb[:, :3]
    angles[:, _THUMB_ROW + 1 :, 0] += thumb[:, 3:]
    return np.deg2rad(angles.clip(low, high))


def _blend_postures(n: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """MCP [n, 4], PIP [n, 4], spread [n], thumb [n, 5] of random mixtures of two postures, mostly near one of them."""
    table = [np.array([posture[part] for posture in _POSTURES.values()], dtype=np.float64) for part in range(4)]
    first, second = rng.integers(len(_POSTURES), size=(2, n))
    weight = rng.beta(0.6, 0.6, n)
    blended = []
    for values in table:
        w = weight.reshape(-1, *[1] * (values.ndim - 1))
        blended.append((1 - w) * values[first] + w * values[second])
    return tuple(blended)


def _finger_noise(n: int, rng: np.random.Generator, sigma_deg: float) -> np.ndarray:
    """Gaussian noise [n, 4] for index to little, correlated between neighbours."""
    return sigma_deg * rng.standard_normal((n, 4)) @ _NEIGHBOURS.T
