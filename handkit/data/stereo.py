"""Pairs of `handkit generate stereo`, read from their shards: in any order, or streamed.

Where several pairs in a row are of one hand, `sequence` is the first one's name and `frame` the place among them; the
hand is in another pose and place each time.

Convention: both cameras are pinholes and rectified; each view's sample is in its own camera's frame, and
`right_from_left` is [R|t] between them.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from handkit.data.sample import HandSample, StereoSample, build_sample, check_sample
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
from handkit.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from handkit.labels import HAND

KIND: Final = "stereo"
VIEWS: Final = ("left", "right")
PARTS: Final = (
    ("left.jpg", "left.png"),
    ("right.jpg", "right.png"),
    ("left_mask.png",),
    ("right_mask.png",),
    ("hand.npz",),
)
ARRAYS: Final = (
    *("hand_pose", "beta", "global_orient", "transl", "is_right", "joints_3d", "vertices"),
    *(f"{name}_{view}" for name in ("joints_2d", "K", "Rt") for view in VIEWS),
)


class StereoDataset(torch.utils.data.Dataset[StereoSample]):
    """Pairs by number, in the order of the shards.

    `hand` names the hand model of the parameters where `dataset.json` does not. Raises HandkitError for shards that are
    missing, cut off or of another kind.
    """

    def __init__(self, source: Source, *, hand: str | Path | None = None) -> None:
        shards = find_shards(source)
        self._decoder = PairDecoder(read_card(shards, KIND), hand)
        self._shards = IndexedShards(shards, PARTS)
        self._ends = np.cumsum([len(index.keys) for index in self._shards.indices])
        if len(self):
            for view in self[0]["left"], self[0]["right"]:
                check_sample(view)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> StereoSample:
        if not 0 <= index < len(self):
            raise IndexError(index)
        shard = int(np.searchsorted(self._ends, index, side="right"))
        row = index - (int(self._ends[shard - 1]) if shard else 0)
        key, parts = self._shards.read(shard, row)
        return self._decoder(key, parts, str(self._shards.paths[shard]))


class StereoStream(torch.utils.data.IterableDataset[StereoSample]):
    """The same pairs, read from beginning to end through webdataset; see `handkit.data.seqhand.SeqHandStream`."""

    def __init__(
        self, source: Source, *, hand: str | Path | None = None, shuffle: int | None = None, seed: int = 0
    ) -> None:
        self.shards = find_shards(source)
        self._decoder = PairDecoder(read_card(self.shards, KIND), hand)
        self._shuffle, self._seed = shuffle, seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next pass."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[StereoSample]:
        order = None if self._shuffle is None else (self._seed, self.epoch)
        for shard, (key, parts) in stream_samples(
            self.shards, PARTS, _one_by_one, order=order, buffer=self._shuffle or 1
        ):
            yield self._decoder(key, parts, shard)


def _one_by_one(samples: Iterable[tuple[str, dict[str, bytes]]], _: str) -> Iterator[tuple[str, dict[str, bytes]]]:
    return iter(samples)


class PairDecoder:
    """Turns the parts of a stored pair into its two samples."""

    def __init__(self, settings: Mapping[str, Any], hand: str | Path | None) -> None:
        self._name = str(hand or settings.get("hand_model") or "open")
        self._dataset = f"{KIND}-{settings['split']}" if "split" in settings else KIND
        self._same_hand = int(settings.get("recipe", {}).get("same_hand", 1))

    def __call__(self, key: str, parts: Mapping[str, bytes], shard: str) -> StereoSample:
        """The pair `key`; errors name `shard` and the part."""
        stored = decode_arrays(parts["hand.npz"], f"{shard}: {key}.hand.npz", ARRAYS)
        left, right = (self._view(key, parts, stored, view, shard) for view in VIEWS)
        left_from_world, right_from_world = (_square(stored[f"Rt_{view}"]) for view in VIEWS)
        right_from_left = right_from_world @ np.linalg.inv(left_from_world)
        return {"left": left, "right": right, "right_from_left": right_from_left[:3].astype(np.float32)}

    def _view(
        self, key: str, parts: Mapping[str, bytes], stored: Mapping[str, NDArray[Any]], view: str, shard: str
    ) -> HandSample:
        part = next(name for name in parts if name.startswith(f"{view}."))
        labels = decode_labels(parts[f"{view}_mask.png"], f"{shard}: {key}.{view}_mask.png")
        sequence, frame = split_number(key, self._same_hand, shard)
        return build_sample(
            decode_image(parts[part], f"{shard}: {key}.{part}"),
            is_right=bool(stored["is_right"]),
            dataset=self._dataset,
            name=f"{key}.{view}",
            sequence=sequence,
            frame=frame,
            mask=labels == HAND,
            hand_model=self._name,
            K=stored[f"K_{view}"],
            joints_2d=stored[f"joints_2d_{view}"],
            hand_pose=stored["hand_pose"],
            betas=stored["beta"],
            **in_camera(stored, _square(stored[f"Rt_{view}"]), stored[f"K_{view}"].astype(np.float64)),
        )


def split_number(key: str, same_hand: int, shard: str) -> tuple[str, int]:
    """The first of the pairs of one hand, and the place among them, of a key such as "000012"."""
    if same_hand == 1:
        return key, 0
    if not key.isdecimal():
        raise HandkitError(f"{shard} holds {key}, no number of a pair", "take the shard away")
    frame = int(key) % same_hand
    return f"{int(key) - frame:06d}", frame


def in_camera(
    stored: Mapping[str, NDArray[Any]], camera_from_world: NDArray[np.float64], K: NDArray[np.float64]
) -> dict[str, Any]:
    """The schema's 3D keys of a stored pair in one camera's frame, and the outline's pixels."""
    R, t = camera_from_world[:3, :3], camera_from_world[:3, 3]
    joints, vertices = (stored[name] @ R.T + t for name in ("joints_3d", "vertices"))
    pixels = vertices @ K.T
    outline = pixels[:, :2] / pixels[:, 2:]
    orient = axis_angle_to_matrix(torch.from_numpy(stored["global_orient"].astype(np.float64))).numpy()
    # The layer turns about the wrist at rest, J0, so that wrist = J0 + transl in the world as in the camera.
    rest_wrist = stored["joints_3d"][0] - stored["transl"].astype(np.float64)
    return {
        "joints_3d": joints,
        "vertices": vertices,
        "vertices_2d": outline,
        "bbox": np.concatenate([outline.min(0), outline.max(0)]),
        "global_orient": matrix_to_axis_angle(torch.from_numpy(R @ orient)).numpy(),
        "transl": joints[0] - rest_wrist,
    }


def _square(matrix: NDArray[Any]) -> NDArray[np.float64]:
    return np.vstack([matrix.astype(np.float64), [0.0, 0.0, 0.0, 1.0]])
