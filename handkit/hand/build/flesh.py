"""The cones that make up a hand: metacarpals, pads, wrist, webs, thumb muscles, phalanges, pulps, knuckles.

Convention: lengths here are millimetres of the mean hand, scaled by the measurements.
"""

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from handkit.hand.build.implicit import Cones
from handkit.hand.build.skeleton import NUM_FINGERS, THUMB, Skeleton, bone_frame, palmar_hint

FINGERS_IN_ROW = (0, 1, 3, 2)
CUT_MM = 13.0
DORSAL = np.array([0.0, 1.0, 0.0])


@dataclass
class _Table:
    rows: list[tuple] = field(default_factory=list)

    def add(
        self,
        group: int,
        ends: tuple[np.ndarray, np.ndarray],
        radii_mm: tuple[float, float],
        *,
        bones: tuple[dict[int, float], dict[int, float]] = ({0: 1.0}, {0: 1.0}),
        hint: np.ndarray = -DORSAL,
        flat: float = 1.0,
        blend_mm: float = 6.0,
        axis: np.ndarray | None = None,
    ) -> None:
        # a ball has no direction of its own
        direction = axis if axis is not None and np.allclose(ends[0], ends[1]) else ends[1] - ends[0]
        weights = np.zeros((2, 16))
        for row, entry in zip(weights, bones, strict=True):
            row[list(entry)] = list(entry.values())
        frame = bone_frame(direction, hint)
        self.rows.append((group, blend_mm, *ends, *radii_mm, flat, frame, *weights))

    def cones(self) -> Cones:
        group, blend, start, end, r0, r1, flat, frame, start_bones, end_bones = zip(*self.rows, strict=True)
        return Cones(
            group=np.array(group, np.int64),
            blend=np.array(blend) * 1e-3,
            start=np.array(start),
            end=np.array(end),
            radius_start=np.array(r0) * 1e-3,
            radius_end=np.array(r1) * 1e-3,
            flat=np.array(flat, np.float64),
            frame=np.array(frame),
            start_bones=np.array(start_bones),
            end_bones=np.array(end_bones),
        )


def build_cones(skeleton: Skeleton) -> Cones:
    """All cones of a hand at rest."""
    table = _Table()
    _add_palm(table, skeleton)
    _add_thumb_muscles(table, skeleton)
    _add_webs(table, skeleton)
    for finger in range(NUM_FINGERS):
        _add_finger(table, skeleton, finger)
    return table.cones()


def _scales(skeleton: Skeleton) -> tuple[float, float, float]:
    """Size along the palm, across it and through it."""
    m = skeleton.measurements
    return m.size * m.palm_length, m.size * m.palm_breadth, m.size * m.palm_thickness


def _add_palm(table: _Table, skeleton: Skeleton) -> None:
    along, across, through = _scales(skeleton)
    wrist = skeleton.joints[0]

    def at(x: float, y: float, z: float) -> np.ndarray:
        return wrist + 1e-3 * np.array([x * along, y * through, z * across])

    thick = (through * across) ** 0.5
    # forearm and wrist: an ellipse about 58 mm by 40 mm
    table.add(
        0,
        (at(45.0, 0.0, -1.0), at(0.0, 0.0, -1.0)),
        (29 * across, 27 * across),
        flat=0.70 * through / across,
        blend_mm=1.0,
    )
    table.add(
        0,
        (at(2.0, 0.0, -1.0), at(-26.0, 0.0, -2.0)),
        (26.5 * across, 27 * across),
        flat=0.66 * through / across,
        blend_mm=8.0,
    )
    carpal_z = {0: 11.0, 1: 3.0, 3: -5.0, 2: -13.0}
    head = {0: 13.2, 1: 12.6, 3: 12.0, 2: 12.0}
    for finger in FINGERS_IN_ROW:
        knuckle = skeleton.joints[1 + 3 * finger]
        base = at(-14.0, 0.0, carpal_z[finger])
        sunk = knuckle - 1e-3 * through * 2.0 * DORSAL
        table.add(0, (base, sunk), (13.5 * thick, head[finger] * thick), flat=0.98, blend_mm=8.0)
        # dorsal knuckle and the tendon's ridge
        bump = knuckle + 1e-3 * through * 4.0 * DORSAL
        table.add(0, (bump, bump), (7.6 * thick, 7.6 * thick), blend_mm=6.0, axis=np.array([-1.0, 0.0, 0.0]))
        # pad below the knuckle
        pad = knuckle + 1e-3 * (np.array([6.0 * along, 0, 0]) - through * 6.5 * DORSAL)
        table.add(0, (pad, pad + np.array([0.010 * along, 0, 0])), (8.6 * thick, 8.5 * thick), blend_mm=8.0)
    # the heel of the little finger's side, and the hollow of the palm
    middle, little, ring = skeleton.joints[4], skeleton.joints[7], skeleton.joints[10]
    heel = at(-14.0, -6.0, -15.0)
    edge = 0.35 * heel + 0.65 * little - np.array([0.0, 0.008 * through, 0.0])
    table.add(0, (heel, edge), (13.5 * thick, 12.5 * thick), blend_mm=9.0)
    hollow = 0.5 * (middle + ring) - np.array([-0.012, 0.005 * through, 0.0])
    table.add(0, (at(-30.0, -4.0, 2.0), hollow), (12.0 * thick, 10.0 * thick), blend_mm=9.0)


def _add_thumb_muscles(table: _Table, skeleton: Skeleton) -> None:
    along, across, through = _scales(skeleton)
    base, joint, _, _ = skeleton.chain(THUMB)
    wrist = skeleton.joints[0]
    heel = wrist + 1e-3 * np.array([-12 * along, -6 * through, 13 * across])
    size = (through * across) ** 0.5
    moving = {13: 1.0}
    half = {0: 0.5, 13: 0.5}
    palmar = np.array([-0.3, -1.0, -0.2])
    table.add(0, (heel, base), (12 * size, 12.5 * size), bones=({0: 1.0}, half), hint=palmar, blend_mm=9.0)
    table.add(0, (base, joint), (12.5 * size, 11.2 * size), bones=(half, moving), hint=palmar, blend_mm=9.0)
    # the ball of the thumb
    belly = 0.5 * (base + joint) + 1e-3 * np.array([-6 * along, -4 * through, -6 * across])
    table.add(
        0, (0.4 * heel + 0.6 * base, belly), (13 * size, 12 * size), bones=({0: 0.7, 13: 0.3}, half), blend_mm=10.0
    )
    # web between thumb and index
    index = skeleton.joints[1]
    palm_side = index + 0.42 * (wrist - index) + np.array([0.0, -0.004 * through, 0.002])
    thumb_side = base + 0.72 * (joint - base)
    table.add(
        0, (palm_side, thumb_side), (8.5 * size, 8.5 * size), bones=({0: 1.0}, {0: 0.25, 13: 0.75}), blend_mm=14.0
    )
    nearer = index + 0.62 * (wrist - index) + np.array([0.0, -0.005 * through, 0.0])
    table.add(0, (nearer, base + 0.4 * (joint - base)), (12 * size, 11 * size), bones=({0: 1.0}, half), blend_mm=10.0)


def _add_webs(table: _Table, skeleton: Skeleton) -> None:
    _, across, through = _scales(skeleton)
    size = (through * across) ** 0.5
    for left, right in pairwise(FINGERS_IN_ROW):
        ends, bones = [], []
        for finger in (left, right):
            knuckle, second = skeleton.joints[1 + 3 * finger], skeleton.joints[2 + 3 * finger]
            direction = (second - knuckle) / np.linalg.norm(second - knuckle)
            ends.append(knuckle + 1e-3 * size * (7.0 * direction - 3.0 * DORSAL))
            bones.append({0: 0.6, 1 + 3 * finger: 0.4})
        table.add(0, (ends[0], ends[1]), (5.5 * size, 5.5 * size), bones=(bones[0], bones[1]), blend_mm=7.0)


def _add_finger(table: _Table, skeleton: Skeleton, finger: int) -> None:
    chain, radii = skeleton.chain(finger), skeleton.radii[finger] * 1e3
    hint = palmar_hint(finger)
    flats = (0.97, 0.92, 0.84) if finger == THUMB else (1.0, 0.97, 0.92)
    for k in range(3):
        a, b = chain[k], chain[k + 1]
        frame = bone_frame(b - a, hint)
        own = {1 + 3 * finger + k: 1.0}
        low = 1e-3 * radii[k] * frame[1]
        end = b - frame[0] * 1e-3 * radii[3] if k == 2 else b

        def add(
            ends: tuple[np.ndarray, np.ndarray],
            widths: tuple[float, float],
            bone: dict[int, float] = own,
            flat: float = 1.0,
            axis: np.ndarray = frame[0],
        ) -> None:
            table.add(finger + 1, ends, widths, bones=(bone, bone), hint=hint, flat=flat, axis=axis, blend_mm=3.0)

        add((a + 0.06 * low, end + 0.06 * low), (radii[k], radii[k + 1]), flat=flats[k])
        if k == 2:
            pulp = a + 0.45 * (end - a) + 0.28 * low, end + 0.10 * low
            add(pulp, (0.90 * radii[2], 0.95 * radii[3]), flat=0.95)
        elif finger != THUMB or k > 0:
            pad = a + 0.38 * (end - a) + 0.24 * low, a + 0.62 * (end - a) + 0.24 * low
            add(pad, (0.45 * (radii[k] + radii[k + 1]),) * 2)
        if k > 0:
            back, shared = a - 0.16 * low, {1 + 3 * finger + k: 0.5, 3 * finger + k: 0.5}
            add((back, back), (0.93 * radii[k],) * 2, bone=shared)
