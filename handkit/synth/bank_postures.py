"""The hand postures between which the built-in bank moves, and the joint angles they stand for.

A posture is 14 numbers: MCP flexion of index, middle, ring and little, the same for PIP (DIP follows at 2/3), how far
the fingers spread (-1 closed, 0 as at rest, 1 wide), then the thumb's base flexion, abduction and twist, its MCP and
its IP flexion; degrees. Those where fingers touch were moved, as little as possible, to where they do not penetrate.
"""

from typing import Final

import numpy as np
from jaxtyping import Float

from handkit.hand.limits import LIMITS_DEG

POSTURE_KINDS: Final = ("open", "curled", "grasp", "pinch", "count", "relaxed")

_Posture = tuple[tuple[float, ...], tuple[float, ...], float, tuple[float, ...]]

POSTURES: Final[dict[str, dict[str, _Posture]]] = {
    "open": {
        "flat": ((0, 0, 0, 0), (0, 0, 0, 0), 0, (0, 0, 0, 0, 0)),
        "closed": ((2, 2, 2, 2), (3, 3, 3, 3), -1, (20, -15, 0, 5, 5)),
        "spread": ((-8, -5, -5, -8), (2, 2, 2, 2), 1, (-15, 10, 5, -5, -5)),
        "bent back": ((-20, -20, -20, -20), (5, 5, 5, 5), 0.3, (-10, 5, 0, -5, -15)),
        "thumb in": ((2, 2, 2, 2), (3, 3, 3, 3), -0.7, (50, 8, -25, 35, 40)),
    },
    "curled": {
        "fist": ((70.7, 77.6, 69, 85), (96, 95, 95, 80.5), -0.6, (50.5, 22.5, -9.5, 39, 44.6)),
        "loose fist": ((55.4, 60, 61.6, 65), (70, 75, 74, 72.5), -0.4, (21, 9.4, -10, 17.5, 23.6)),
        "thumb up": ((73.3, 79.4, 69, 85), (95, 93.5, 95, 81), -0.6, (-17, -11, 10.6, -9.5, -11)),
        "hook": ((5, 5, 5, 8), (88, 92, 92, 88), -0.5, (15, 0, 0, 15, 20)),
        "tabletop": ((75, 80, 80, 80), (6, 6, 6, 6), -0.7, (25, 5, -5, 10, 10)),
        "claw": ((-10, -10, -10, -10), (55, 58, 58, 55), 0.5, (0, 10, 0, 15, 30)),
        "ripple": ((10, 30, 50, 65), (20, 45, 65, 80), -0.1, (15, 10, -8, 12, 15)),
        "ripple back": ((65, 50, 30, 10), (80, 65, 45, 20), 0, (25, 15, -10, 15, 20)),
    },
    "grasp": {
        "cylinder": ((44.7, 50, 55, 55), (55.5, 60, 60, 55), -0.3, (26, 23, -14.6, 17, 23.4)),
        "hammer": ((66, 70, 67.6, 77), (81, 85, 92.7, 76.5), -0.6, (25, 16, -15, 20.4, 28.5)),
        "sphere": ((25, 25, 25, 25), (35, 35, 35, 38), 0.7, (15, 25, -20, 10, 15)),
        "disk": ((5, 5, 5, 5), (45, 45, 45, 45), 0.8, (5, 15, -10, 10, 25)),
        "cup": ((35, 40, 42, 42), (35, 38, 38, 38), -0.3, (20, 20, -15, 12, 12)),
        "trigger": ((20, 70, 74, 71.6), (60, 95, 84.4, 88.7), -0.2, (33, 3, -13, 23.3, 29)),
    },
    "pinch": {
        "pinch": ((50, 30, 25, 22), (48, 30, 28, 25), 0.1, (27.5, 23, -25.3, 13, 24)),
        "ok": ((55.4, 8, 4, 2), (52.4, 8, 6, 6), 0.5, (27, 23.7, -25, 12.7, 24)),
        "middle": ((25, 57, 32, 28), (25, 56, 32, 28), 0, (42.8, 24.1, -30, 17.9, 26.9)),
        "ring": ((15, 20, 52, 50), (15, 20, 46, 42), 0, (50, 30, -35, 25, 30)),
        "little": ((10, 14, 22, 55), (10, 14, 20, 46), 0, (52, 32, -38, 28, 34)),
        "tripod": ((48, 52, 60, 62), (48, 50, 65, 65), -0.4, (28.2, 22.6, -25.2, 13.8, 24.5)),
        "key": ((45, 55, 61.7, 66), (65, 72, 74, 73), -0.6, (16, -8, -4.4, 12, 23.3)),
        "beak": ((54.7, 58, 58, 55), (35, 38, 38, 38), -0.8, (33, 23, -25, 11, 19.4)),
    },
    "count": {
        "one": ((5, 72, 80, 70.6), (5.3, 95.6, 86, 89), -0.2, (34, 6.4, -11, 26, 38.5)),
        "two": ((2, 2, 67.6, 77), (4, 4, 95, 85), 0.8, (44.6, 5, -20, 30, 40.3)),
        "two closed": ((2, 2, 74.6, 73.5), (4, 4, 82.4, 87.7), -0.8, (44, 5.3, -20, 29.6, 40)),
        "three": ((2, 2, 2, 78), (4, 4, 4, 85), 0.5, (48, 8, -25, 30, 40)),
        "four": ((0, 0, 0, 0), (2, 2, 2, 2), 0.5, (48, 5, -25, 35, 45)),
        "little": ((71.6, 76, 75.3, 2), (96, 95, 91, 4), 0, (27.4, 17, -19.6, 21, 40.3)),
        "horns": ((2.3, 75.4, 75.4, 2), (4, 95.3, 90.7, 5), 0.3, (40.3, 11, -17, 26.6, 38.6)),
        "thumb and one": ((2, 72, 67, 79.4), (4, 95, 96, 84), 0, (-18, 5, 5, -5, -7.7)),
        "thumb and two": ((2.4, 2, 75.7, 68.6), (4, 4, 90.4, 90), 0.5, (-15, 0, 4.7, -5, -5)),
        "thumb and little": ((70, 75, 74.5, 0), (92, 95, 91, 4), 0.3, (-18, 5, 5, -5, -5)),
    },
    "relaxed": {
        "relaxed": ((18, 25, 30, 30), (25, 32, 35, 32), 0, (8, 5, -5, 10, 10)),
        "open": ((8, 10, 14, 15), (10, 14, 16, 15), 0.2, (0, 3, 0, 5, 5)),
        "drum": ((40, 5, 5, 8), (20, 10, 12, 12), 0.1, (5, 5, 0, 8, 8)),
    },
}

# Abduction of index, middle, ring, little at spread 1 and -1.
_SPREAD_DEG: Final = np.array([[14.0, 3.0, -6.0, -13.0], [-4.0, 0.0, 7.0, 17.0]])
# Rows of the 15 joints (MANO order) at which the base joints of index, middle, ring, little stand; the thumb's.
_BASE_ROWS: Final = np.array([0, 3, 9, 6])
_THUMB_ROW: Final = 12


def posture_table() -> tuple[Float[np.ndarray, "P 14"], np.ndarray]:
    """All postures, and the row of `POSTURE_KINDS` of each [P]."""
    rows = [(kind, posture) for kind, group in POSTURES.items() for posture in group.values()]
    table = np.array([[*mcp, *pip, spread, *thumb] for _, (mcp, pip, spread, thumb) in rows], np.float64)
    return table, np.array([POSTURE_KINDS.index(kind) for kind, _ in rows])


def angles_from_postures(
    postures: Float[np.ndarray, "N 14"], deviation_deg: Float[np.ndarray, "N 15 3"] | None = None
) -> Float[np.ndarray, "N 15 3"]:
    """Joint angles in rad, within the limits, of postures and of what each angle deviates from its synergy."""
    angles = np.zeros((len(postures), 15, 3)) if deviation_deg is None else deviation_deg.copy()
    mcp, pip, spread, thumb = postures[:, :4], postures[:, 4:8], postures[:, 8:9], postures[:, 9:]
    angles[:, _BASE_ROWS, 0] += mcp
    angles[:, _BASE_ROWS + 1, 0] += pip
    angles[:, _BASE_ROWS + 2, 0] += 2 / 3 * pip
    # a flexed MCP cannot spread: its collateral ligaments are taut
    freedom = np.cos(np.deg2rad(np.clip(mcp, 0, 85)))
    wide, closed = spread.clip(0, 1.1) * _SPREAD_DEG[0], (-spread).clip(0, 1.1) * _SPREAD_DEG[1]
    angles[:, _BASE_ROWS, 1] += freedom * (wide + closed)
    angles[:, _THUMB_ROW] += thumb[:, :3]
    angles[:, _THUMB_ROW + 1 :, 0] += thumb[:, 3:]
    return np.deg2rad(angles.clip(LIMITS_DEG[..., 0], LIMITS_DEG[..., 1]))
