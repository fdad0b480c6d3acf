"""Measurements of a hand, their spread over people, and the skeleton they give.

Convention: the rest frame of MANO's right hand in metres: fingers towards -x, thumb towards +z, palm towards -y.
Fingers come in MANO's order (index, middle, little, ring, thumb), so joint `1 + 3 * finger + k` is knuckle k.

Sources. Overall size and breadths, women and men pooled: Greiner, Hand Anthropometry of U.S. Army Personnel, Natick
TR-92/011 (1991): hand length 18.7 cm (sd 1.2), breadth 8.5 cm (0.7), wrist circumference 16.3 cm (1.4). Ratios of
phalanges: Buchholz, Armstrong, Goldstein, Ergonomics 35 (1992) 261. Data sets annotated with MANO place joints
differently: the knuckle lies 10 to 15 mm further along the ray, so the proximal phalanx is short (28 to 32 mm where
Buchholz has 44 to 50) and the metacarpal long. The means stand midway between Buchholz and that placement (mean bone
lengths of FreiHAND's ground truth), and the spread of `knuckle_shift` reaches both.
"""

from dataclasses import dataclass, field

import numpy as np

NUM_FINGERS = 5
THUMB = 4
WRIST_MM = np.array([95.0, 6.0, 6.0])

# Wrist to first knuckle, in a palm frame: along the middle ray (distal), dorsal, towards the thumb.
PALM_MM = np.array(
    [[79.7, -4.2, 19.8], [84.0, 0.0, 0.0], [63.9, -4.1, -35.1], [73.3, -0.5, -19.4], [27.0, -17.0, 21.0]]
)
PHALANGES_MM = np.array(
    [[39.0, 24.0, 24.0], [40.5, 28.0, 25.0], [29.5, 19.5, 20.5], [37.0, 27.0, 24.5], [34.0, 30.0, 30.0]]
)
# Degrees within the palm plane (towards the thumb) and out of it (dorsal), per phalanx.
FAN_DEG = np.array(
    [[4.0, 2.0, 1.0], [-4.0, -4.0, -4.0], [-27.0, -24.0, -22.0], [-13.0, -12.0, -11.0], [47.0, 38.0, 36.0]]
)
PITCH_DEG = np.array([[4.0, -4.0, -9.0], [3.0, -3.0, -8.0], [3.0, -2.0, -8.0], [3.0, -3.0, -8.0], [-5.0, -8.0, -2.0]])
# Half breadths at the first, second, third knuckle and near the tip.
HALF_BREADTH_MM = np.array(
    [[10.3, 9.5, 8.3, 6.9], [10.6, 9.7, 8.5, 7.1], [8.7, 7.9, 7.1, 6.0], [10.0, 9.1, 8.0, 6.8], [11.8, 10.4, 10.4, 8.4]]
)
# Standard deviations of the logarithm of each phalanx: one draw for the four fingers, and each on its own. What counts
# as a knuckle's centre or as the tip differs between data sets by this much and for all fingers alike.
PHALANX_SPREAD_COMMON = np.array([0.02, 0.08, 0.09])
PHALANX_SPREAD = np.array([[0.02, 0.03, 0.03]] * 4 + [[0.08, 0.07, 0.08]])
COMMON = np.array([[1.0], [1.0], [1.0], [1.0], [0.0]])
PALM_AXIS = np.array([[-1.0, -0.006, -0.038], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])


@dataclass(frozen=True)
class Measurements:
    """Factors (1 = the mean hand) and shifts that turn the mean measurements into one person's.

    Per-finger arrays are in MANO's order. `knuckle_shift_mm` moves the first knuckle along its ray towards the wrist
    while the fingertip stays.
    """

    size: float = 1.0
    palm_length: float = 1.0
    palm_breadth: float = 1.0
    palm_thickness: float = 1.0
    finger_length: np.ndarray = field(default_factory=lambda: np.ones(NUM_FINGERS))
    finger_breadth: np.ndarray = field(default_factory=lambda: np.ones(NUM_FINGERS))
    knuckle_shift_mm: np.ndarray = field(default_factory=lambda: np.zeros(NUM_FINGERS))
    phalanx_ratio: np.ndarray = field(default_factory=lambda: np.ones((NUM_FINGERS, 3)))
    thumb_base_mm: np.ndarray = field(default_factory=lambda: np.zeros(3))


def sample_measurements(rng: np.random.Generator) -> Measurements:
    """One person's measurements: independent normal factors."""
    common = rng.normal(0.0, [0.08, 0.045, 0.06, 0.06, 0.05, 0.06])
    shift = rng.normal(0.0, 5.0) + rng.normal(0.0, 2.5, NUM_FINGERS)
    shift[THUMB] = 0.0
    ratio = np.exp(rng.normal(0.0, PHALANX_SPREAD_COMMON) * COMMON + rng.normal(0.0, PHALANX_SPREAD))
    return Measurements(
        size=float(np.exp(common[0])),
        palm_length=float(np.exp(common[1])),
        palm_breadth=float(np.exp(common[2])),
        palm_thickness=float(np.exp(common[3])),
        finger_length=np.exp(common[4] + rng.normal(0.0, [0.025, 0.025, 0.035, 0.025, 0.05])),
        finger_breadth=np.exp(common[5] + rng.normal(0.0, 0.02, NUM_FINGERS)),
        knuckle_shift_mm=shift,
        phalanx_ratio=ratio,
        thumb_base_mm=rng.normal(0.0, 3.0, 3),
    )


@dataclass(frozen=True)
class Skeleton:
    """Joints [16,3] and tips [5,3] at rest (m), bone frames, and radii at knuckles and tip [5,4] (m)."""

    joints: np.ndarray
    tips: np.ndarray
    radii: np.ndarray
    measurements: Measurements

    def chain(self, finger: int) -> np.ndarray:
        """The three knuckles and the tip of a finger [4,3]."""
        first = 1 + 3 * finger
        return np.vstack([self.joints[first : first + 3], self.tips[finger]])


def palmar_hint(finger: int) -> np.ndarray:
    """Roughly where the pulp of a finger faces at rest."""
    return np.array([-1.0, -1.0, -1.0]) / np.sqrt(3.0) if finger == THUMB else np.array([0.0, -1.0, 0.0])


def bone_frame(direction: np.ndarray, hint: np.ndarray) -> np.ndarray:
    """Rows x along the bone, y palmar, z flexion axis: z = x cross hint, y = z cross x."""
    x = direction / np.linalg.norm(direction)
    z = np.cross(x, hint)
    z /= np.linalg.norm(z)
    return np.stack([x, np.cross(z, x), z])


def build_skeleton(measurements: Measurements | None = None) -> Skeleton:
    """The rest skeleton of a hand; the wrist stays, everything else follows the measurements."""
    m = measurements or Measurements()
    palm = PALM_MM * np.array([m.palm_length, m.palm_thickness, m.palm_breadth])
    palm[THUMB] += m.thumb_base_mm
    shift = m.knuckle_shift_mm[:, None]
    palm -= shift * palm / np.linalg.norm(palm, axis=1, keepdims=True)
    lengths = PHALANGES_MM * m.finger_length[:, None] * m.phalanx_ratio
    lengths[:, 0] += m.knuckle_shift_mm
    yaw, pitch = np.deg2rad(FAN_DEG), np.deg2rad(PITCH_DEG)
    along = np.stack([np.cos(pitch) * np.cos(yaw), np.sin(pitch), np.cos(pitch) * np.sin(yaw)], -1)
    bones = (along * lengths[..., None]) * np.array([-1.0, 1.0, 1.0])
    axis = PALM_AXIS / np.linalg.norm(PALM_AXIS, axis=1, keepdims=True)
    first = WRIST_MM + m.size * palm @ axis
    chain = np.concatenate([first[:, None], first[:, None] + m.size * np.cumsum(bones, 1)], 1) * 1e-3
    joints = np.vstack([WRIST_MM[None] * 1e-3, chain[:, :3].reshape(-1, 3)])
    radii = HALF_BREADTH_MM * m.size * m.finger_breadth[:, None] * 1e-3
    return Skeleton(joints=joints, tips=chain[:, 3], radii=radii, measurements=m)
