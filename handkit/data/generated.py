"""What `handkit generate` made as a data set to score on: one hand a sample, its truth at once."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from handkit.data import seqhand, stereo
from handkit.data.annotations import AnnotatedDataset, check_choice
from handkit.data.hands import HandSet
from handkit.data.sample import HandSample, PairView, StereoSample
from handkit.data.shards import IndexedShards, decode_arrays, find_shards, read_card
from handkit.errors import HandkitError

SPLITS: Final = ("all", "train", "val")


class GeneratedHands(AnnotatedDataset):
    """The samples of a folder of shards in order; `split` "all", or that which the folder must hold."""

    def __init__(
        self, root: str | Path, split: str, *, kind: str, parts: Sequence[Sequence[str]], arrays: Sequence[str]
    ) -> None:
        check_choice(f"split of {kind}", split, SPLITS)
        shards = find_shards(Path(root))
        self._settings = read_card(shards, kind)
        held = self._settings.get("split", split)
        if split not in ("all", held):
            raise HandkitError(f"{root} holds the split {held}, not {split}", f"ask for {held}, or name another folder")
        self._root, self._arrays = root, arrays
        self._shards = IndexedShards(shards, parts)
        self._ends = np.cumsum([len(index.keys) for index in self._shards.indices])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def truth(self) -> HandSet:
        """Joints in 3D and 2D and vertices, float32 in the shards, of every sample."""
        keys = [key for index in self._shards.indices for key in index.keys]
        joints, joints_2d = np.empty((len(self), 21, 3)), np.empty((len(self), 21, 2))
        vertices, K = np.empty((len(self), 778, 3)), np.empty((len(self), 3, 3))
        for row in range(len(self)):
            key, parts, where = self._stored(row)
            stored = decode_arrays(parts["hand.npz"], f"{where}: {key}.hand.npz", self._arrays)
            joints[row], vertices[row], joints_2d[row], K[row] = self._annotated(stored)
        return HandSet(
            ids=tuple(self._name(key) for key in keys),
            joints=joints,
            vertices=vertices,
            joints_2d=joints_2d,
            K=K if np.isfinite(K).all() else None,
            source=str(self._root),
            **self._places(keys),
        )

    def _stored(self, row: int) -> tuple[str, dict[str, bytes], str]:
        """Key, parts and shard of a sample."""
        shard = int(np.searchsorted(self._ends, row, side="right"))
        key, parts = self._shards.read(shard, row - (int(self._ends[shard - 1]) if shard else 0))
        return key, parts, str(self._shards.paths[shard])

    def _name(self, key: str) -> str:
        return key

    def _places(self, keys: Sequence[str]) -> dict[str, Any]:
        """Which samples belong together in time."""
        return {}

    @abstractmethod
    def _annotated(self, stored: Mapping[str, NDArray[Any]]) -> tuple[NDArray[Any], ...]:
        """Joints, vertices, 2D joints and K (NaN where there is none) of what hand.npz holds."""


class SeqHandFrames(GeneratedHands):
    """Single frames of `handkit generate seqhand`; 3D points are turned by R and stand about the hand's origin."""

    def __init__(self, root: str | Path, split: str = "all") -> None:
        super().__init__(root, split, kind=seqhand.KIND, parts=seqhand.PARTS, arrays=seqhand.ARRAYS)
        self._decoder = seqhand.FrameDecoder(self._settings)

    def read(self, index: int) -> HandSample:
        return self._decoder(*self._stored(index))

    def _places(self, keys: Sequence[str]) -> dict[str, Any]:
        places = [seqhand.split_key(key, str(self._root)) for key in keys]
        return {"sequences": tuple(place[0] for place in places), "frames": tuple(place[1] for place in places)}

    def _annotated(self, stored: Mapping[str, NDArray[Any]]) -> tuple[NDArray[Any], ...]:
        return stored["joints_3d"], stored["vertices"], stored["joints_2d"], np.full((3, 3), np.nan)


class StereoView(GeneratedHands):
    """One view ("left" or "right") of the pairs of `handkit generate stereo`, in its camera's frame."""

    def __init__(self, root: str | Path, split: str = "all", *, view: str = "left") -> None:
        self.view = check_choice("view", view, stereo.VIEWS)
        super().__init__(root, split, kind=stereo.KIND, parts=stereo.PARTS, arrays=stereo.ARRAYS)
        self._decoder = stereo.PairDecoder(self._settings, None)

    def read(self, index: int) -> HandSample:
        pair = self.pair(index)
        return pair["left"] if self.view == "left" else pair["right"]

    def view_of(self, index: int) -> PairView:
        return "left" if self.view == "left" else "right"

    def pair(self, index: int) -> StereoSample:
        return self._decoder(*self._stored(index))

    def _name(self, key: str) -> str:
        return f"{key}.{self.view}"

    def _annotated(self, stored: Mapping[str, NDArray[Any]]) -> tuple[NDArray[Any], ...]:
        camera, K = stored[f"Rt_{self.view}"].astype(np.float64), stored[f"K_{self.view}"]
        joints, vertices = (stored[name] @ camera[:3, :3].T + camera[:3, 3] for name in ("joints_3d", "vertices"))
        return joints, vertices, stored[f"joints_2d_{self.view}"], K
