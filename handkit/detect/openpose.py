"""2D keypoints made elsewhere: OpenPose JSON files, and plain arrays [T, 21, 2 or 3] of (x, y[, score]) per frame.

OpenPose orders a hand's joints as we do and names the sides as the person's own. Pixels are taken as they come.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from jaxtyping import Float

from handkit.detect.detection import HandDetection, box_around
from handkit.errors import HandkitError

_HAND_KEYS = (("hand_left_keypoints_2d", False), ("hand_right_keypoints_2d", True))
_FRAME_FILE = re.compile(r"(?P<stem>.*?)_?(?P<frame>\d+)_keypoints\.json")


def read_keypoints(path: str | Path, *, is_right: bool = True) -> dict[int, list[HandDetection]]:
    """Hands by frame number from any supported source; frames without hands are left out.

    A folder holds OpenPose's `<name>_<frame>_keypoints.json`; a .json holds one OpenPose frame (number 0) or an array;
    a .npy holds an array. `is_right` is the side of arrays, which do not say. Raises HandkitError naming file and key.
    """
    path = Path(path)
    if path.is_dir():
        return read_openpose_folder(path)
    if path.suffix.lower() == ".npy":
        return _array_frames(path, _load_npy(path), is_right=is_right)
    content = _load_json(path)
    if isinstance(content, dict):
        hands = _openpose_hands(path, content)
        return {0: hands} if hands else {}
    return _array_frames(path, content, is_right=is_right)


def read_openpose(path: str | Path) -> list[HandDetection]:
    """The hands of all people in one OpenPose file; hands it did not find (all confidences 0) are left out."""
    path = Path(path)
    return _openpose_hands(path, _load_json(path))


def read_openpose_folder(folder: str | Path, stem: str | None = None) -> dict[int, list[HandDetection]]:
    """Hands by frame number from `<stem>_<frame>_keypoints.json`; one video's files unless `stem` chooses."""
    folder = Path(folder)
    if not folder.is_dir():
        raise HandkitError(f"{folder} is not a folder", "give the folder that OpenPose wrote with --write_json")
    named = ((path, _FRAME_FILE.fullmatch(path.name)) for path in sorted(folder.iterdir()))
    files = [(path, match) for path, match in named if match and stem in (None, match["stem"])]
    if not files:
        raise HandkitError(
            f"no OpenPose files in {folder}", "they are called <name>_<frame>_keypoints.json: check the folder"
        )
    stems = sorted({match["stem"] for _, match in files})
    if len(stems) > 1:
        raise HandkitError(
            f"{folder} holds OpenPose files of {len(stems)} videos: {', '.join(stems[:3])}", "give one folder per video"
        )
    frames = {int(match["frame"]): read_openpose(path) for path, match in files}
    return {frame: hands for frame, hands in sorted(frames.items()) if hands}


def hand_from_keypoints(
    keypoints: Float[np.ndarray, "21 2"], scores: Float[np.ndarray, "21"], *, is_right: bool
) -> HandDetection | None:
    """A detection from given keypoints; None if none was seen. Scores are clipped to [0, 1], unseen joints keep 0."""
    seen = np.isfinite(keypoints).all(1) & np.isfinite(scores) & (scores > 0)
    if not seen.any():
        return None
    points = np.where(seen[:, None], keypoints, 0.0)
    confidences = np.where(seen, np.clip(np.nan_to_num(scores), 0, 1), 0.0)
    return HandDetection(
        keypoints_2d=points,
        keypoint_scores=confidences,
        is_right=is_right,
        score=float(confidences.mean()),
        bbox=box_around(points[seen]),
    )


def _openpose_hands(path: Path, content: Any) -> list[HandDetection]:
    if not isinstance(content, dict) or not isinstance(content.get("people"), list):
        raise HandkitError(f"{path}: no list 'people'", "give a file that OpenPose wrote with --write_json --hand")
    hands = []
    for i, person in enumerate(content["people"]):
        for key, is_right in _HAND_KEYS:
            numbers = person.get(key) if isinstance(person, dict) else None
            if not numbers:
                continue
            table = _numbers(numbers, f"{path}: people[{i}].{key}")
            if table.shape != (63,):
                raise HandkitError(
                    f"{path}: people[{i}].{key} has shape {table.shape}", "it holds 63 numbers: x, y, score per joint"
                )
            table = table.reshape(21, 3)
            _check_pixels(table, f"{path}: people[{i}].{key}")
            hands.append(hand_from_keypoints(table[:, :2], table[:, 2], is_right=is_right))
    return [hand for hand in hands if hand is not None]


def _array_frames(path: Path, content: Any, *, is_right: bool) -> dict[int, list[HandDetection]]:
    table = _numbers(content, str(path))
    if table.ndim != 3 or table.shape[1] != 21 or table.shape[2] not in (2, 3):
        raise HandkitError(f"{path} has shape {table.shape}", "give keypoints [frames, 21, 2 or 3]: x, y[, score]")
    scores = table[..., 2] if table.shape[2] == 3 else np.ones(table.shape[:2])
    frames = {}
    for frame, (points, confidences) in enumerate(zip(table[..., :2], scores, strict=True)):
        hand = hand_from_keypoints(points, confidences, is_right=is_right)
        if hand is not None:
            frames[frame] = [hand]
    return frames


def _check_pixels(table: Float[np.ndarray, "21 3"], where: str) -> None:
    seen = table[:, 2] > 0
    if seen.sum() > 1 and np.abs(table[seen, :2]).max() <= 1:
        raise HandkitError(f"{where} is not in pixels: all within [-1, 1]", "run OpenPose with --keypoint_scale 0")


def _numbers(values: Any, where: str) -> np.ndarray:
    try:
        # JSON has no NaN: null marks a joint that was not seen.
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise HandkitError(f"{where} is not a regular table of numbers", "check how the file was written") from error


def _load_json(path: Path) -> Any:
    try:
        return orjson.loads(path.read_bytes())
    except OSError as error:
        raise HandkitError(f"cannot read {path}: {error.strerror}", "check the path") from error
    except orjson.JSONDecodeError as error:
        raise HandkitError(f"{path} is not JSON: {error}", "check that the file is whole") from error


def _load_npy(path: Path) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise HandkitError(f"cannot read {path}: {error}", "give an array saved with numpy.save") from error
