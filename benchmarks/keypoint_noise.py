"""What MediaPipe's 2D keypoints are off by: `python benchmarks/keypoint_noise.py [--json] [--real DIR] [--save FILE]`.

One frame of each of the first sequences of the recipe "seqhand" at 224 px, or the first 60 of Hand Graph CNN's real
crops with --real. `handkit.detect` looks at each as demo looks at a still. Missed: no hand whose joints are within a
quarter of the hand on average. Hands missed in the picture are looked for in the true box as well.
Everything is over the hand's size, the larger side of the true joints' box in the image; the truth is where
`handkit.fit.landmarks` says that MediaPipe's landmarks lie against the joints. A hand's error is split in a similarity
(shift, scale, turn; least squares over joints), the mean of what is left of each finger, and the rest of each joint.
Beside what was measured stand the same figures of `handkit.data.keypoint_noise`, drawn about the same joints.
Needs the extra `mediapipe`.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from handkit.data.keypoint_noise import KeypointNoise, noisy_keypoints
from handkit.data.sample import HandSample, build_sample
from handkit.detect.detection import HandDetection
from handkit.detect.mediapipe import MediaPipeDetector
from handkit.fit.landmarks import LANDMARKS
from handkit.images import read_image
from handkit.recipe import load_recipe
from handkit.synth.recipe import SequenceRecipe
from handkit.synth.stream import SyntheticSequences

REAL = 60  # the rest of the real crops stay unseen
LOOKS = 5  # as demo's at stills
MISSED = 0.25
OUTLIER = 0.12
HIDDEN_M, NEAR_M = 0.028, 0.006
FINGERS = np.array([[k, k + 1, k + 2, k + 3] for k in (1, 5, 9, 13, 17)])
PARENTS = np.array([-1, 0, 1, 2, 3, 0, 5, 6, 7, 0, 9, 10, 11, 0, 13, 14, 15, 0, 17, 18, 19])
FINGER_NAMES = ("thumb", "index", "middle", "ring", "little")
NAMES = ("wrist", *(f"{finger} {joint}" for finger in FINGER_NAMES for joint in range(1, 5)))


class Seen(NamedTuple):
    """One hand: true joints [21,2] px, the landmarks found [21,2] and scores [21] (NaN where missed), and how."""

    truth: np.ndarray
    found: np.ndarray
    scores: np.ndarray
    in_picture: bool
    in_box: bool
    right_side: bool
    facing_deg: float
    hidden: np.ndarray
    presence: float


def generated(count: int, seed: int) -> Iterator[HandSample]:
    """The only frame of each sequence."""
    recipe = load_recipe(SequenceRecipe, "seqhand", ["frames=1"])
    for sequence in SyntheticSequences(seed, recipe=recipe, split="val", sequences=count):
        yield {key: value[0] for key, value in sequence.items()}  # type: ignore[misc]


def real(folder: Path) -> Iterator[HandSample]:
    """The first real crops by name."""
    known = json.loads((folder / "ground_truth_3d.json").read_text())["samples"]
    chosen = sorted((one for one in known if one["id"].startswith("handgraph")), key=lambda one: one["image"])
    for one in chosen[:REAL]:
        joints, (fx, fy, cx, cy) = np.array(one["joints_cam_m"]), one["K"]
        yield build_sample(
            np.ascontiguousarray(read_image(folder / one["image"]).transpose(2, 0, 1)),
            is_right=one["side"] == "right",
            dataset="snap",
            name=one["image"],
            joints_3d=joints,
            joints_2d=joints[:, :2] / joints[:, 2:] * (fx, fy) + (cx, cy),
        )


def look(detector: MediaPipeDetector, sample: HandSample) -> Seen:
    """What the detector says of a sample's hand."""
    image = np.ascontiguousarray(sample["image"].transpose(1, 2, 0))
    truth = sample["joints_2d"].astype(np.float64)
    expected = landmarks_of(truth)
    box = np.concatenate([truth.min(0), truth.max(0)])
    found = nearest(detector.detect(image), expected)
    in_picture = found is not None
    if found is None:
        boxed = detector.detect_in_box(image, box, bool(sample["is_right"]))
        found = nearest([] if boxed is None else [boxed], expected)
    nothing = np.full((21, 3), np.nan)
    return Seen(
        truth,
        nothing[:, :2] if found is None else found.keypoints_2d,
        nothing[:, 2] if found is None else found.keypoint_scores,
        in_picture,
        found is not None and not in_picture,
        found is not None and found.is_right == bool(sample["is_right"]),
        facing_deg(sample["joints_3d"]),
        hidden_joints(sample),
        np.nan if found is None else found.score,
    )


def landmarks_of(joints: np.ndarray) -> np.ndarray:
    """Where MediaPipe's landmarks of these joints [*B,21,2] are meant to lie."""
    matrix = LANDMARKS["mediapipe"].matrix("open")
    assert matrix is not None
    return matrix.numpy() @ joints


def size_of(joints: np.ndarray) -> np.ndarray:
    """The larger side of the box [*B]."""
    return np.ptp(joints, axis=-2).max(-1)


def nearest(hands: list[HandDetection], expected: np.ndarray) -> HandDetection | None:
    """The hand nearest to the truth, if it is near."""
    size = float(size_of(expected))
    apart = [float(np.linalg.norm(hand.keypoints_2d - expected, axis=1).mean()) / size for hand in hands]
    return hands[int(np.argmin(apart))] if apart and min(apart) <= MISSED else None


def facing_deg(joints: np.ndarray) -> float:
    """The angle between the palm's normal, either way, and the line of sight: 0 palm or back, 90 the side."""
    normal = np.cross(joints[5] - joints[0], joints[17] - joints[0])
    return float(np.degrees(np.arccos(np.clip(abs(normal[2]) / np.linalg.norm(normal), 0, 1))))


def hidden_joints(sample: HandSample) -> np.ndarray:
    """Joints [21] behind other parts of the hand, or where the picture shows no hand; False where nothing is known."""
    if not sample["vertices_valid"]:
        return np.zeros(21, bool)
    joints, vertices = sample["joints_3d"], sample["vertices"]
    beside = np.linalg.norm(joints[:, None, :2] - vertices[None, :, :2], axis=-1) < NEAR_M
    behind = (beside & (joints[:, None, 2] - vertices[None, :, 2] > HIDDEN_M)).any(1)
    x, y = np.clip(sample["joints_2d"].astype(int), 0, sample["image"].shape[-1] - 1).T
    return behind | (sample["mask"][y, x] == 0)


class Parts(NamedTuple):
    """Errors of N hands over their size: similarity (shift x, y, log scale, turn), fingers [N,5,2], rest [N,21,2]."""

    similarity: np.ndarray
    fingers: np.ndarray
    rest: np.ndarray


def split(expected: np.ndarray, found: np.ndarray) -> Parts:
    """Errors of hands [N,21,2], about the box's centre."""
    size = size_of(expected)[:, None, None]
    centre = (expected.min(1, keepdims=True) + expected.max(1, keepdims=True)) / 2
    x, y = (expected - centre) / size, (found - centre) / size
    a, b = x @ [1, 1j], y @ [1, 1j]
    a0, b0 = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    turn = (a0.conj() * b0).sum(1) / (abs(a0) ** 2).sum(1)
    shift = b.mean(1) - turn * a.mean(1)
    left = b - turn[:, None] * a - shift[:, None]
    fingers = left[:, FINGERS].mean(2)
    rest = left.copy()
    rest[:, FINGERS] -= fingers[..., None]
    similarity = np.stack([shift.real, shift.imag, np.log(abs(turn)), np.angle(turn)], 1)
    return Parts(similarity, np.stack([fingers.real, fingers.imag], -1), np.stack([rest.real, rest.imag], -1))


def report(seen: list[Seen]) -> dict[str, Any]:
    """All figures."""
    in_picture = np.array([one.in_picture for one in seen])
    in_box = np.array([one.in_box for one in seen])
    facing = np.array([one.facing_deg for one in seen])
    hidden = np.array([one.hidden for one in seen])
    figures: dict[str, Any] = {
        "hands": len(seen),
        "missed": float(1 - in_picture.mean()),
        "missed_within_beyond_45_deg": [share_missed(in_picture[facing <= 45]), share_missed(in_picture[facing > 45])],
        "missed_in_box_too": float(1 - (in_picture | in_box).mean()),
        "wrong_side": float(1 - np.array([one.right_side for one in seen])[in_picture].mean()),
    }
    for name, rows in (("picture", in_picture), ("box", in_box)):
        if rows.any():
            figures[name] = errors(seen, np.flatnonzero(rows), facing, hidden)
    figures["drawn"] = errors(drawn(seen), np.flatnonzero(in_picture), facing, hidden)
    return figures


def drawn(seen: list[Seen]) -> list[Seen]:
    """The same hands with keypoints of rendered hands as `handkit.data.keypoint_noise` draws them."""
    noise = KeypointNoise(missing=0.0, rendered=(1.0, 1.0), single=0.0)
    points, scores = noisy_keypoints(np.array([one.truth for one in seen]), np.random.default_rng(0), noise)
    return [one._replace(found=found, scores=sure) for one, found, sure in zip(seen, points, scores, strict=True)]


def errors(seen: list[Seen], rows: np.ndarray, facing: np.ndarray, hidden: np.ndarray) -> dict[str, Any]:
    """The figures of some hands that were found."""
    truth, found = (np.array([getattr(seen[row], name) for row in rows]) for name in ("truth", "found"))
    scores, facing, hidden = np.array([seen[row].scores for row in rows]), facing[rows], hidden[rows]
    expected = landmarks_of(truth)
    off = (found - expected) / size_of(expected)[:, None, None]
    far = np.linalg.norm(off, axis=-1)
    parts = split(expected, found)
    rest = np.linalg.norm(parts.rest, axis=-1)
    along = unit(expected - expected[:, PARENTS])
    along[:, 0] = unit(expected[:, 9] - expected[:, 0])
    across = along[..., ::-1] * (-1, 1)
    return {
        "hands": len(rows),
        "mean": float(far.mean()),
        "mean_unshifted": float((np.linalg.norm(found - truth, axis=-1) / size_of(truth)[:, None]).mean()),
        "joint_quantiles_50_90_99": quantiles(far),
        "hand_mean_quantiles_10_50_90_99": quantiles(far.mean(1), (10, 50, 90, 99)),
        "hand_mean_log_sd": float(np.log(far.mean(1)).std()),
        "outliers": float((far > OUTLIER).mean()),
        "hands_with_outliers": float((far > OUTLIER).any(1).mean()),
        "hands_mostly_outliers": float(((far > OUTLIER).mean(1) > 0.3).mean()),
        "similarity_sd_x_y_logscale_turn": parts.similarity.std(0).tolist(),
        "similarity_robust_sd": robust_sd(parts.similarity).tolist(),
        "similarity_mean": parts.similarity.mean(0).tolist(),
        "share_of_square_similarity_finger_rest": shares(off, parts),
        "finger_sd": (np.sqrt((parts.fingers**2).mean((0, 2)))).tolist(),
        "finger_robust_sd": robust_sd(parts.fingers.transpose(0, 2, 1).reshape(-1, 5)).tolist(),
        "rest_sd": np.sqrt((parts.rest**2).mean((0, 2))).tolist(),
        "rest_robust_sd": robust_sd(parts.rest.transpose(0, 2, 1).reshape(-1, 21)).tolist(),
        "rest_quantiles_50_90_99": quantiles(rest),
        "joint_mean": far.mean(0).tolist(),
        "joint_sd": np.sqrt((off**2).mean((0, 2))).tolist(),
        "joint_median": np.median(far, 0).tolist(),
        "joint_90": np.quantile(far, 0.9, 0).tolist(),
        "joint_99": np.quantile(far, 0.99, 0).tolist(),
        "offset_along_bone": (off * along).sum(-1).mean(0).tolist(),
        "offset_across_bone": (off * across).sum(-1).mean(0).tolist(),
        "score_quantiles_1_10_50_90": quantiles(scores, (1, 10, 50, 90)),
        "score_error_correlation": float(spearman(scores.mean(1), far.mean(1))),
        "mean_by_facing_0_30_60_90": [mean(far[(facing >= low) & (facing < low + 30)]) for low in (0, 30, 60)],
        "hidden": float(hidden.mean()),
        "mean_seen_hidden": [mean(far[~hidden]), mean(far[hidden])],
        "joint_mean_seen": [mean(far[~hidden[:, j], j]) for j in range(21)],
    }


def share_missed(found: np.ndarray) -> float | None:
    return float(1 - found.mean()) if len(found) else None


def mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def quantiles(values: np.ndarray, at: tuple[int, ...] = (50, 90, 99)) -> list[float]:
    return np.percentile(values, at).tolist()


def robust_sd(values: np.ndarray) -> np.ndarray:
    """A normal's s.d. of the same middle half, by column."""
    low, high = np.percentile(values, (25, 75), axis=0)
    return (high - low) / 1.349


def shares(off: np.ndarray, parts: Parts) -> list[float]:
    """Of the summed squared error: similarity, fingers, rest."""
    total, rest = (off**2).sum(), (parts.rest**2).sum()
    fingers = 4 * (parts.fingers**2).sum()
    return [float(1 - (fingers + rest) / total), float(fingers / total), float(rest / total)]


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.argsort().argsort(), b.argsort().argsort())[0, 1])


def percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f}%"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=1200, help="default: 1200")
    parser.add_argument("--seed", type=int, default=5, help="default: 5")
    parser.add_argument("--real", type=Path, help="the folder of ground_truth_3d.json: look at real crops instead")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--save", type=Path, help="write truth, landmarks and scores (.npz)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    samples = generated(args.frames, args.seed) if args.real is None else real(args.real)
    with MediaPipeDetector(max_hands=2, augment=LOOKS) as detector:
        seen = [look(detector, sample) for sample in samples]
    if args.save:
        np.savez(args.save, **{name: np.array([getattr(one, name) for one in seen]) for name in Seen._fields})
    figures = report(seen)
    if args.json:
        json.dump(figures, sys.stdout)
        print()
    else:
        show(figures)


def show(figures: dict[str, Any]) -> None:
    """A table: single figures, then those of joints, in % of the hand."""
    for name, value in figures.items():
        if isinstance(value, dict):
            print(f"\n{name}")
            show({key: one for key, one in value.items() if not (isinstance(one, list) and len(one) == 21)})
            joints = {key: one for key, one in value.items() if isinstance(one, list) and len(one) == 21}
            print(f"{'':12s}" + "".join(f"{key[:14]:>15s}" for key in joints))
            for row, joint in enumerate(NAMES):
                print(f"{joint:12s}" + "".join(f"{percent(one[row]):>15s}" for one in joints.values()))
        elif isinstance(value, list):
            print(f"{name:42s} " + " ".join("-" if one is None else f"{one:.4f}" for one in value))
        else:
            print(f"{name:42s} {value if isinstance(value, int) else f'{value:.4f}'}")


if __name__ == "__main__":
    main()
