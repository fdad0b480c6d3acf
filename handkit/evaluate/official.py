"""The servers' JSON files: nested lists of points, read sample by sample into float64, and written.

A truth file is [N, K, 3]; a prediction is [joints, vertices], [N, 21, 3] and [N, V, 3] (either may be empty).
"""

import json
import zipfile
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
from jaxtyping import Float

from handkit.conventions import NUM_JOINTS, NUM_VERTICES, reorder_joints
from handkit.data.hands import HandSet
from handkit.errors import HandkitError
from handkit.evaluate.protocols import PROTOCOLS
from handkit.files import atomic_path

_BLOCK: Final = 1 << 20
_OPEN: Final = ord("[")
# "[" and "]" differ from this only in these bits; among numbers nothing else does.
_EITHER, _BITS = np.uint8(0x5F), np.uint8(0x06)
_OPENGL = np.array([1.0, -1.0, -1.0])


def read_point_lists(path: Path) -> list[Float[np.ndarray, "N K D"]]:
    """The arrays of one JSON file: one of [N, K, D], or several in a list; an empty list is an empty array.

    NaN, Infinity and null are read as what is not finite. Raises HandkitError for a file that is cut off, is not lists
    of numbers, or whose samples differ in size, naming the sample.
    """
    content = path.read_bytes()
    outline = _outline(path, content)
    return [
        _read_group(path, content, outline.starts[first:last], outline.ends[first:last])
        for first, last in zip(outline.groups, [*outline.groups[1:], len(outline.starts)], strict=True)
    ]


def check_not_truncated(path: Path) -> None:
    """Raise HandkitError at once for a JSON file that is empty or does not end as one does."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - 64))
        tail = file.read().rstrip()
    if not tail.endswith((b"]", b"}")):
        ending = repr(tail[-20:].decode(errors="replace")) if tail else "nothing"
        raise HandkitError(f"{path} is cut off: {size} bytes, ending in {ending}", "copy or write the file again")


class _Outline(NamedTuple):
    """Byte ranges of the samples in file order, and the number of the first sample of each group."""

    starts: np.ndarray
    ends: np.ndarray
    groups: list[int]


def _outline(path: Path, content: bytes) -> _Outline:
    """Where samples lie, by counting brackets."""
    places, depths = _brackets(content)
    levels = int(depths.max(initial=0))
    if not len(depths) or depths[-1] != 0 or (depths < 0).any():
        left = int(depths[-1]) if len(depths) else 0
        what = f"{left} lists are not closed" if left > 0 else "not nested lists"
        raise HandkitError(f"{path} is not whole: {what}, {len(content)} bytes", "copy or write the file again")
    if levels not in (3, 4):
        raise HandkitError(
            f"{path}: lists nested {levels} deep, not [samples, points, 3] or [joints, vertices]",
            "write it as the data set's evaluation does",
        )
    opens = np.diff(depths, prepend=0) > 0
    starts = places[opens & (depths == levels - 1)]
    ends = places[~opens & (depths == levels - 2)] + 1
    if levels == 3:
        return _Outline(starts, ends, [0])
    firsts = places[opens & (depths == 2)]
    return _Outline(starts, ends, np.searchsorted(starts, firsts).tolist())


def _brackets(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Places of all brackets and the depth after each; in blocks, which stay in the processor's cache."""
    data = np.frombuffer(content, np.uint8)
    places, depths, depth = [], [], 0
    for begin in range(0, len(data), _BLOCK):
        block = data[begin : begin + _BLOCK]
        found = np.flatnonzero((block | _BITS) == _EITHER)
        steps = np.where(block[found] == _OPEN, np.int8(1), np.int8(-1))
        after = np.cumsum(steps, dtype=np.int32) + depth
        depth = int(after[-1]) if len(after) else depth
        places.append(found + begin)
        depths.append(after)
    return np.concatenate(places or [np.empty(0, np.int64)]), np.concatenate(depths or [np.empty(0, np.int32)])


def _read_group(path: Path, content: bytes, starts: np.ndarray, ends: np.ndarray) -> Float[np.ndarray, "N K D"]:
    """The samples one after the other, each as one flat list of numbers, so that few Python objects live at once."""
    if not len(starts):
        return np.empty((0, 0, 3))
    try:
        first = np.asarray(_loads(path, content[starts[0] : ends[0]], 0), np.float64)
    except (TypeError, ValueError) as error:
        raise HandkitError(f"{path}: sample 0 is not points of numbers ({error})", "check that sample") from error
    if first.ndim != 2:
        raise HandkitError(f"{path}: sample 0 has shape {first.shape}, not [points, 3]", "give one list per point")
    points, size = len(first), first.size
    values = np.empty((len(starts), size))
    for i, (begin, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        text = content[begin:end]
        numbers = _loads(path, b"[" + text.translate(None, b"[]") + b"]", i)
        if len(numbers) != size or text.count(b"[") != points + 1:
            counts = f"{text.count(b'[') - 1} points, {len(numbers)} numbers; sample 0 {points}, {size}"
            raise HandkitError(f"{path}: sample {i} has {counts}", "give every sample the same number of points")
        try:
            values[i] = numbers
        except (TypeError, ValueError) as error:
            raise HandkitError(f"{path}: sample {i} is not points of numbers ({error})", "check that sample") from error
    return values.reshape(len(starts), *first.shape)


def _loads(path: Path, text: bytes, sample: int) -> list[Any]:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        try:  # Python's own writer leaves NaN and Infinity, which are no JSON
            return json.loads(text)
        except ValueError as error:
            raise HandkitError(f"{path}: sample {sample} is not JSON: {error}", "write the file again") from error


def from_official(points: Float[np.ndarray, "N J 3"], joint_order: str, axes: str) -> Float[np.ndarray, "N J 3"]:
    """Points of a file as ours: joints (where there are 21) in our order, OpenCV axes; in place where possible."""
    if points.shape[1] == NUM_JOINTS and joint_order != "ours":
        points = reorder_joints(points, joint_order)
    if axes == "opengl":
        points = np.multiply(points, _OPENGL, out=points)
    return points


def write_submission(out: Path, hands: HandSet, server: str) -> list[Path]:
    """pred.json as `server` ("freihand" or "ho3d") took it, with its joint order and axes, and pred.zip around it.

    Samples are written in the order given. Raises HandkitError where joints are missing or not finite.
    """
    protocol = PROTOCOLS[server]
    if hands.joints is None or hands.joints.shape[1] != NUM_JOINTS:
        raise HandkitError(f"{hands.source}: a submission needs 21 joints a sample", "give predictions with joints")
    bad = [hands.ids[i] for i in np.flatnonzero(~np.isfinite(hands.joints).all((1, 2)))]
    if bad:
        raise HandkitError(
            f"{hands.source}: {len(bad)} samples have no finite joints, {', '.join(bad[:3])}",
            "a submission needs a prediction for every sample",
        )
    axes = _OPENGL if protocol.axes == "opengl" else np.ones(3)
    joints = reorder_joints(hands.joints.astype(np.float64) * axes, "ours", protocol.joint_order)
    # The servers want a mesh; without one its scores are of zeros.
    empty = np.zeros((len(hands), NUM_VERTICES, 3))
    vertices = empty if hands.vertices is None else hands.vertices.astype(np.float64) * axes
    path, archive = out / "pred.json", out / "pred.zip"
    with atomic_path(path) as partial, partial.open("wb") as file:
        file.write(b"[")
        file.write(orjson.dumps(np.ascontiguousarray(joints), option=orjson.OPT_SERIALIZE_NUMPY))
        file.write(b",")
        file.write(orjson.dumps(np.ascontiguousarray(vertices), option=orjson.OPT_SERIALIZE_NUMPY))
        file.write(b"]")
    with (
        atomic_path(archive) as partial,
        zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed,
    ):
        packed.write(path, path.name)
    return [path, archive]
