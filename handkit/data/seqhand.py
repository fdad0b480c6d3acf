"""Sequences of `handkit generate seqhand`, read from their shards: in any order, or streamed.

A shard holds frames `<sequence>_<frame>`, those of a sequence together and in order. Both readers give windows of
consecutive frames as one stacked sample, every array of the schema (`handkit.data.sample`) with a leading T.

Convention: weak perspective, so `weak_valid` holds and `K_valid` does not; 3D points are turned by the camera but not
shifted, their origin is the hand's own.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from handkit.data.sample import HandSample, build_sample, check_sample, stack_samples
from handkit.data.shards import (
    IndexedShards,
    Source,
    decode_arrays,
    decode_image,
    decode_labels,
    find_shards,
    read_card,
)
from handkit.data.stream import stream_samples
from handkit.errors import HandkitError
from handkit.geometry.rotations import axis_angle_to_matrix
from handkit.hand.model import HandModel, load_hand
from handkit.labels import HAND

KIND: Final = "seqhand"
PARTS: Final = (("image.jpg", "image.png"), ("mask.png",), ("hand.npz",))
ARRAYS: Final = ("theta", "beta", "r", "s", "t", "is_right", "joints_2d", "joints_3d", "vertices")
_FRAME: Final = re.compile(r"(\d+)_(\d+)")


class SeqHandDataset(torch.utils.data.Dataset[dict[str, Any]]):
    """Windows of `frames` frames of every sequence in turn, by number; whole sequences without `frames`.

    Windows start `stride` frames apart (`frames` unless told); what is left over at a sequence's end is not given.
    `hand` is the hand model that theta belongs to where `dataset.json` does not say or where its file has moved.
    Raises HandkitError for shards that are missing, cut off or of another kind, and where sequences have fewer frames.
    """

    def __init__(
        self, source: Source, *, frames: int | None = None, stride: int | None = None, hand: str | Path | None = None
    ) -> None:
        shards = find_shards(source)
        self._decoder = FrameDecoder(read_card(shards, KIND), hand)
        self._shards = IndexedShards(shards, PARTS)
        starts: list[tuple[int, int]] = []
        self._length = frames or 0
        for number, (shard, index) in enumerate(zip(shards, self._shards.indices, strict=True)):
            for _, members in group_frames(zip(index.keys, range(len(index.keys)), strict=True), str(shard)):
                self._length = self._length or len(members)
                starts += [(number, first[1]) for first, *_ in windows(members, self._length, stride, str(shard))]
        self._starts = np.array(starts, np.int64).reshape(-1, 2)
        if len(self):
            check_sample(self.read_frame(*map(int, self._starts[0])))

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        shard, first = map(int, self._starts[index])
        where = str(self._shards.paths[shard])
        return self._decoder.read([self._shards.read(shard, first + frame) for frame in range(self._length)], where)

    def read_frame(self, shard: int, row: int) -> HandSample:
        """One frame, by the number of its shard and its place in it."""
        key, parts = self._shards.read(shard, row)
        return self._decoder(key, parts, str(self._shards.paths[shard]))


class SeqHandStream(torch.utils.data.IterableDataset[dict[str, Any]]):
    """The same windows, read from beginning to end through webdataset: for disks on which jumping about is slow.

    Shards are dealt out to the processes of a run and to a DataLoader's workers, and none is read twice. With `shuffle`
    the shards of epoch `epoch` come in an order of their own and windows mix within a buffer of that many, both by
    (seed, epoch); `set_epoch` before each. Raises HandkitError like `SeqHandDataset`, a cut shard when it comes to it.
    """

    def __init__(
        self,
        source: Source,
        *,
        frames: int | None = None,
        stride: int | None = None,
        hand: str | Path | None = None,
        shuffle: int | None = None,
        seed: int = 0,
    ) -> None:
        self.shards = find_shards(source)
        self._decoder = FrameDecoder(read_card(self.shards, KIND), hand)
        self._frames, self._stride, self._shuffle, self._seed = frames, stride, shuffle, seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next pass."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[dict[str, Any]]:
        order = None if self._shuffle is None else (self._seed, self.epoch)
        found = stream_samples(self.shards, PARTS, self._cut, order=order, buffer=self._shuffle or 1)
        for shard, window in found:
            yield self._decoder.read(window, shard)

    def _cut(self, samples: Iterable[tuple[str, dict[str, bytes]]], shard: str) -> Iterator[Any]:
        for _, members in group_frames(samples, shard):
            yield from windows(members, self._frames, self._stride, shard)


class FrameDecoder:
    """Turns frames into samples, stored ones and those just made; holds the hand model that PCA coefficients need.

    `settings` are those of `dataset.json`: of them `hand_model` and `split` are used.
    """

    def __init__(self, settings: Mapping[str, Any], hand: str | Path | None = None) -> None:
        self._name = str(hand or settings.get("hand_model") or "open")
        self._dataset = f"{KIND}-{settings['split']}" if "split" in settings else KIND
        self._hands: dict[bool, HandModel] = {}

    def __call__(self, key: str, parts: Mapping[str, bytes], shard: str) -> HandSample:
        """The sample of the stored frame `key`; errors name `shard` and the part."""
        sequence, frame = split_key(key, shard)
        return self.build(*_decode(key, parts, shard), sequence=sequence, frame=frame)

    def read(self, frames: Sequence[tuple[str, Mapping[str, bytes]]], shard: str) -> dict[str, Any]:
        """The stacked sample of consecutive stored frames (key, parts) of a sequence."""
        images, labels, rows = zip(*(_decode(key, parts, shard) for key, parts in frames), strict=True)
        sequence, first = split_key(frames[0][0], shard)
        if any(_layout(row) != _layout(rows[0]) for row in rows) or len({image.shape for image in images}) > 1:
            return stack_samples([self(key, parts, shard) for key, parts in frames])
        arrays = {name: np.stack([row[name] for row in rows]) for name in ARRAYS}
        return self.build_frames(np.stack(images), np.stack(labels), arrays, sequence=sequence, first=first)

    def build(
        self,
        image: NDArray[np.uint8],
        labels: NDArray[np.uint8],
        arrays: Mapping[str, NDArray[Any]],
        *,
        sequence: str,
        frame: int,
    ) -> HandSample:
        """The sample of image [3, H, W], mask labels [H, W] and what hand.npz holds of a frame."""
        is_right = bool(arrays["is_right"])
        return build_sample(
            image,
            is_right=is_right,
            dataset=self._dataset,
            name=f"{sequence}_{frame:03d}",
            sequence=sequence,
            frame=frame,
            mask=labels == HAND,
            hand_model=self._name,
            **weak_camera_keys(arrays),
            **self.pose_keys(arrays["theta"], is_right),
        )

    def build_frames(
        self,
        images: NDArray[np.uint8],
        labels: NDArray[np.uint8],
        arrays: Mapping[str, NDArray[Any]],
        *,
        sequence: str,
        first: int = 0,
    ) -> dict[str, Any]:
        """What `stack_samples` makes of `build` for each of T frames of one hand, `first` on; all have a leading T."""
        row = {name: values[0] for name, values in arrays.items()}
        sample: Mapping[str, Any] = self.build(images[0], labels[0], row, sequence=sequence, frame=first)
        frames = len(images)
        stacked: dict[str, Any] = {
            key: [value] * frames if isinstance(value, str) else np.repeat(value[None], frames, 0)
            for key, value in sample.items()
        }
        known = {**weak_camera_keys(arrays), **self.pose_keys(arrays["theta"], bool(row["is_right"]))}
        stacked |= {key: np.asarray(value, stacked[key].dtype) for key, value in known.items()}
        stacked["image"], stacked["mask"] = images, (labels == HAND).astype(np.uint8)
        stacked["frame"] = np.arange(first, first + frames)
        stacked["name"] = [f"{sequence}_{frame:03d}" for frame in stacked["frame"]]
        return stacked

    def pose_keys(self, theta: NDArray[np.float32], is_right: bool) -> dict[str, Any]:
        """hand_pose, and pca where theta is coefficients, of theta as it is stored, of a frame or of several."""
        size = theta.shape[-1]
        if size == 45:
            return {"hand_pose": theta}
        if is_right not in self._hands:
            self._hands[is_right] = load_hand(self._name, "right" if is_right else "left")
        hand = self._hands[is_right]
        pose = hand.hands_mean + theta.astype(np.float64) @ hand.hands_components[:size]
        return {"hand_pose": pose, "pca": theta} if size == 10 else {"hand_pose": pose}


def _decode(
    key: str, parts: Mapping[str, bytes], shard: str
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], dict[str, NDArray[Any]]]:
    """Picture, mask labels and arrays of a stored frame."""
    image_part = next(name for name in parts if name.startswith("image."))
    return (
        decode_image(parts[image_part], f"{shard}: {key}.{image_part}"),
        decode_labels(parts["mask.png"], f"{shard}: {key}.mask.png"),
        decode_arrays(parts["hand.npz"], f"{shard}: {key}.hand.npz", ARRAYS),
    )


def _layout(arrays: Mapping[str, NDArray[Any]]) -> list[Any]:
    """What frames have in common that are built together: shapes, and the hand's side."""
    return [bool(arrays["is_right"]), *(arrays[name].shape for name in ARRAYS)]


def weak_camera_keys(stored: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """The schema's keys of the stored arrays of a frame, or of several, but for the pose."""
    joints, scale, shift = stored["joints_3d"], stored["s"], stored["t"]
    R = axis_angle_to_matrix(torch.from_numpy(stored["r"].astype(np.float64))).numpy()
    outline = scale[..., None, None] * stored["vertices"][..., :2] + shift[..., None, :]
    wrist = joints[..., 0, :]
    return {
        "weak_scale": scale,
        "weak_transl": shift,
        "joints_2d": stored["joints_2d"],
        "joints_3d": joints,
        "vertices": stored["vertices"],
        "vertices_2d": outline,
        "bbox": np.concatenate([outline.min(-2), outline.max(-2)], -1),
        "global_orient": stored["r"],
        "betas": stored["beta"],
        # r turns about the hand's origin, the layer about the wrist: x = R (x0 - J0) + J0 + transl
        "transl": wrist - (np.swapaxes(R, -1, -2) @ wrist[..., None])[..., 0],
    }


def split_key(key: str, shard: str) -> tuple[str, int]:
    """Sequence and frame of a key such as "000012_003"."""
    match = _FRAME.fullmatch(key)
    if match is None:
        raise HandkitError(f"{shard} holds {key}, no frame of a sequence", "take the shard away")
    return match[1], int(match[2])


def group_frames(samples: Iterable[tuple[str, Any]], shard: str) -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    """The samples of each sequence in turn; raises HandkitError unless its frames count 0, 1, 2 ..."""
    for sequence, members in groupby(samples, key=lambda sample: split_key(sample[0], shard)[0]):
        found = list(members)
        if [split_key(key, shard)[1] for key, _ in found] != list(range(len(found))):
            raise HandkitError(f"{shard}: sequence {sequence} lacks frames", "generate or copy it again")
        yield sequence, found


def windows(members: list[Any], frames: int | None, stride: int | None, shard: str) -> list[list[Any]]:
    """Runs of `frames` consecutive members, starting every `stride`."""
    length = frames or len(members)
    if length > len(members):
        what = f"{shard} holds sequences of {len(members)} frames, fewer than {length}"
        raise HandkitError(what, f"ask for frames={len(members)} or fewer")
    return [members[start : start + length] for start in range(0, len(members) - length + 1, stride or length)]
