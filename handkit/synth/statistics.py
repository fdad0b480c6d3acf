"""What generated sequences show, as counts that add up over shards."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from handkit.synth.sequence import HandSequence

Counts = dict[str, dict[str, int]]

_PALM_STEP_DEG, _SIZE_STEP_PX, _MOTION_STEP_MM = 15, 16, 2


def count_sequence(sequence: HandSequence) -> Counts:
    """Counts of one sequence: of frames, of sequences (names ending so), and of steps from frame to frame."""
    frames = len(sequence.s)
    extent = np.ptp(sequence.vertices[..., :2], axis=1).max(axis=1) * sequence.s
    moved_mm = 1e3 * np.linalg.norm(np.diff(sequence.joints_3d - sequence.joints_3d[:, :1], axis=0), axis=-1).mean(-1)
    return {
        "frames_by_view": {sequence.view: frames},
        "frames_by_palm_angle_deg": _in_steps(palm_angle_deg(sequence), _PALM_STEP_DEG),
        "frames_by_pose": dict(Counter(sequence.pose_kinds)),
        "frames_by_hand_size_px": _in_steps(extent, _SIZE_STEP_PX),
        "steps_by_joint_motion_mm": _in_steps(moved_mm, _MOTION_STEP_MM),
        "sequences_by_monk_tone": {str(sequence.monk): 1},
        "sequences_by_light": {"lit" if sequence.appearance.light is not None else "unlit": 1},
        "sequences_by_forearm": {sequence.forearm or "none": 1},
        "sequences_by_occluder": {sequence.occluder or "none": 1},
    }


def palm_angle_deg(sequence: HandSequence) -> np.ndarray:
    """Angle [T] between the palm's outward normal and the way to the camera: 0 shows the palm, 180 the back."""
    from scipy.spatial.transform import Rotation

    # At rest the palm faces -y; the camera is at -z.
    normals = Rotation.from_rotvec(np.asarray(sequence.r, np.float64)).apply([0.0, -1.0, 0.0])
    return np.degrees(np.arccos(np.clip(-normals[:, 2], -1, 1)))


def add_counts(counts: Iterable[Mapping[str, Mapping[str, int]]]) -> Counts:
    """The sum; ranges in their order, names in the alphabet's."""
    total: dict[str, Counter[str]] = {}
    for one in counts:
        for name, values in one.items():
            total.setdefault(name, Counter()).update(values)
    return {name: dict(sorted(values.items(), key=_order)) for name, values in total.items()}


def _in_steps(values: np.ndarray, step: int) -> dict[str, int]:
    """Counts by range, as "30-45"; the top of a full turn or of any range belongs to the one above."""
    counts = Counter(int(value // step) * step for value in values)
    return {f"{low}-{low + step}": number for low, number in sorted(counts.items())}


def _order(entry: tuple[str, Any]) -> tuple[int, str]:
    first = entry[0].split("-")[0]
    return (int(first), "") if first.isdigit() else (-1, entry[0])
