"""How well MediaPipe reads generated hands: `python benchmarks/realism.py [--json] [--sheet FILE] [--set key=value]`.

One frame (number index % frames) of each of the first sequences of the default recipe and of a seed that nothing was
tuned on (tuning: seeds below 1000). MediaPipe 0.10.21 gets each picture alone, as the shards hold it (JPEG), nothing
added around it; static mode, confidence 0.5. Found: the landmarks' centre lies within the box of the true joints and a
tenth of it around. Error: distance of each of the 21 landmarks from
the true joint over the hand's size, the larger side of the box around the true joints; the median over all landmarks
of found hands, and over hands of their mean. The two differ in what a landmark is: MediaPipe's wrist lies further into
the palm, its knuckles on the skin. "Within 45 degrees": palm or back faces the camera. Needs the extra `mediapipe`.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import mediapipe
import numpy as np
import torch
from scipy.spatial.transform import Rotation

from handkit.hand.model import load_hand
from handkit.recipe import load_recipe
from handkit.synth.poses import load_pose_bank
from handkit.synth.recipe import SequenceRecipe
from handkit.synth.sequence import HandSequence, SequenceMaker

AROUND = 0.1


class Seen(NamedTuple):
    """One frame: picture, angle between palm's or back's direction and the camera's [deg], what is in it, errors."""

    image: np.ndarray
    angle_deg: float
    monk: int
    forearm: str
    occluder: str
    errors: np.ndarray  # [21] over the hand's size, NaN where it was not found


def frames(maker: SequenceMaker, count: int) -> Iterator[tuple[HandSequence, int, np.ndarray]]:
    """Sequence, number and picture of one frame of each of the first sequences."""
    for sequence in maker.annotate_many(range(count)):
        number = sequence.index % len(sequence.s)
        picture = maker.render(sequence)[0][number]
        quality = [cv2.IMWRITE_JPEG_QUALITY, maker.recipe.jpeg_quality]
        yield sequence, number, cv2.imdecode(cv2.imencode(".jpg", picture, quality)[1], cv2.IMREAD_COLOR)


def landmark_errors(hands: list | None, image: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """Errors [21] of the first hand over the hand's size, NaN where none was found at the right place."""
    if not hands:
        return np.full(21, np.nan)
    found = np.array([(point.x, point.y) for point in hands[0].landmark]) * image.shape[1::-1]
    low, high = joints.min(0), joints.max(0)
    size = float((high - low).max())
    centre = found.mean(0)
    if (centre < low - AROUND * size).any() or (centre > high + AROUND * size).any():
        return np.full(21, np.nan)
    return np.linalg.norm(found - joints, axis=1) / size


def measure(recipe: SequenceRecipe, *, count: int, seed: int) -> list[Seen]:
    """Generate and look at `count` frames."""
    hand = load_hand("open")
    maker = SequenceMaker(recipe, seed=seed, split="train", bank=load_pose_bank(), hand=hand)
    seen = []
    with mediapipe.solutions.hands.Hands(
        static_image_mode=True, max_num_hands=1, min_detection_confidence=0.5
    ) as detector:
        for sequence, number, image in frames(maker, count):
            # the rest hand's palm looks along -y, its back along y
            facing = abs(Rotation.from_rotvec(sequence.r[number]).as_matrix()[2, 1])
            joints = sequence.joints_2d[number].astype(np.float64)
            errors = landmark_errors(detector.process(image).multi_hand_landmarks, image, joints)
            angle = float(np.degrees(np.arccos(min(facing, 1.0))))
            kinds = str(sequence.forearm or "none"), str(sequence.occluder or "none")
            seen.append(Seen(image, angle, sequence.monk, *kinds, errors))
    return seen


def report(seen: list[Seen]) -> dict[str, float | int]:
    """Rates and errors of all frames, of those within 45 degrees, and what the latter's rate depends on."""
    errors = np.array([one.errors for one in seen])
    found = ~np.isnan(errors[:, 0])
    facing = np.array([one.angle_deg <= 45 for one in seen])
    result: dict[str, float | int] = {"frames": len(seen), "within_45_deg": int(facing.sum())}
    for name, chosen in (("within_45_deg", facing), ("all", np.ones_like(facing))):
        kept = errors[chosen & found]
        result[f"found_{name}"] = float(found[chosen].mean())
        result[f"landmark_error_{name}"] = float(np.median(kept))
        result[f"hand_error_{name}"] = float(np.median(kept.mean(1)))
    groups = {f"monk_{low}_{low + 1}": [one.monk in (low, low + 1) for one in seen] for low in (1, 3, 5, 7, 9)}
    groups |= {f"forearm_{kind}": [one.forearm == kind for one in seen] for kind in ("none", "bare", "sleeve")}
    groups |= {f"occluder_{kind}": [one.occluder == kind for one in seen] for kind in ("none", "front", "held")}
    for name, members in groups.items():
        if (chosen := facing & np.array(members)).any():
            result[f"found_within_45_deg_{name}"] = float(found[chosen].mean())
    return result


def contact_sheet(seen: list[Seen], columns: int = 10) -> np.ndarray:
    """The frames in a grid, a green or red edge for found or missed, a thin one for those beyond 45 degrees."""
    tiles = []
    for one in seen:
        color = (255, 0, 0) if np.isnan(one.errors[0]) else (0, 200, 0)
        corner = (one.image.shape[1] - 1, one.image.shape[0] - 1)
        tiles.append(cv2.rectangle(one.image.copy(), (0, 0), corner, color, 6 if one.angle_deg <= 45 else 1))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    return np.vstack([np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=500, help="frames, each of its own sequence (default: 500)")
    parser.add_argument("--seed", type=int, default=4004, help="default: 4004")
    parser.add_argument("--recipe", default="seqhand", help="default: seqhand")
    parser.add_argument("--set", action="append", default=[], help="change the recipe: key=value")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--sheet", type=Path, help="write the first 100 frames as one picture")
    args = parser.parse_args()
    torch.set_num_threads(1)
    seen = measure(load_recipe(SequenceRecipe, args.recipe, args.set), count=args.frames, seed=args.seed)
    if args.sheet:
        cv2.imwrite(str(args.sheet), contact_sheet(seen[:100])[..., ::-1])
    figures = report(seen)
    if args.json:
        json.dump({"seed": args.seed, **figures}, sys.stdout)
        print()
        return
    for name, value in figures.items():
        print(f"{name:40s} {value if isinstance(value, int) else f'{100 * value:.1f} %'}")


if __name__ == "__main__":
    main()
