"""Hands that `handkit.gather` found in unlabelled pictures and videos, read from its files of patches.

A sample's picture is the patch around the hand, its `bbox` the outline of the detected keypoints, never of the truth,
so that crops are those of a hand without labels. Truth is there where the pictures came with it; that of a weak camera
was moved to where the assumed K sees it, so that both cameras hold.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Int
from numpy.typing import NDArray

from handkit.data.annotations import AnnotatedDataset
from handkit.data.hands import HandSet
from handkit.data.patch_files import PATCH_SCALE, PatchFile, hand_box
from handkit.data.runs_in_time import cut_runs, split_runs, windows_in
from handkit.data.sample import HandSample, build_sample
from handkit.errors import HandkitError

# From so many sequences on, whole ones are held out.
MANY_SEQUENCES: Final = 10
_TRUTH: Final = ("joints_2d", "joints_2d_valid", "joints_3d", "joints_3d_valid")
_AS_STORED: Final = ("K", "keypoints_2d", "keypoint_scores", *_TRUTH, "weak_scale", "weak_transl", "weak_valid")


class DetectedHands(AnnotatedDataset):
    """The hands of files of patches, sequence by sequence in order of time, without those that jump.

    A sequence is one hand of one side in a video, or in a data set's own sequence; every still is one of its own.
    `sequences` says which (a number) each sample belongs to, `frames` and `times_s` when it was; `left_out` counts per
    source what jumps took. Pickles are small: files are opened again. `rows` chooses, as `subset` does.
    """

    def __init__(self, paths: Sequence[str | os.PathLike[str]], *, rows: NDArray[np.integer] | None = None) -> None:
        if not paths:
            raise HandkitError("no files of patches", "gather pictures or videos first")
        self.paths = [Path(path) for path in paths]
        self._files = [PatchFile(path) for path in self.paths]
        self._chosen = rows
        self._index()

    def __len__(self) -> int:
        return len(self.frames)

    def __getstate__(self) -> dict[str, Any]:
        return {"paths": self.paths, "rows": self._chosen}

    def __setstate__(self, state: dict[str, Any]) -> None:
        DetectedHands.__init__(self, state["paths"], rows=state["rows"])

    def _index(self) -> None:
        """What is known of all hands at once, in the samples' order."""
        numbers: dict[tuple[str, ...], int] = {}
        sequences = [numbers.setdefault(key, len(numbers)) for file in self._files for key in _sequence_keys(file)]
        sequence, frame, square = np.array(sequences, np.int64), self._all("frame"), self._all("square")
        order = np.lexsort((frame, sequence))
        run = cut_runs(sequence[order], frame[order], square[order], PATCH_SCALE)
        source = np.repeat([str(file.card["source"]) for file in self._files], [len(file) for file in self._files])
        names, counts = np.unique(source[order][run < 0], return_counts=True)
        self.left_out = dict(zip(names.tolist(), counts.tolist(), strict=True))
        kept = np.flatnonzero(run >= 0)
        kept = kept if self._chosen is None else kept[self._chosen]
        self._stored = order[kept]
        self._ends = np.cumsum([len(file) for file in self._files])
        self._run, self.sequences, self.frames = run[kept], sequence[self._stored], frame[self._stored]
        self.times_s = self._all("time_s")[self._stored]
        self.sources = source[self._stored]
        self.is_still = np.array([len(key) == 1 for key in numbers], bool)[self.sequences]
        self.sequence_names = tuple("" if len(key) == 1 else "/".join(key[:2]) for key in numbers)

    def _all(self, field: str) -> NDArray[Any]:
        return np.concatenate([file.fields[field] for file in self._files])

    def _place(self, index: int) -> tuple[PatchFile, int]:
        """File and row of a sample."""
        stored = int(self._stored[index])
        number = int(np.searchsorted(self._ends, stored, side="right"))
        return self._files[number], stored - (int(self._ends[number - 1]) if number else 0)

    def read(self, index: int) -> HandSample:
        file, row = self._place(index)
        held = {key: file.fields[key][row] for key in file.fields}
        points, seen = held["keypoints_2d"], held["keypoint_scores"] > 0
        return build_sample(
            file.image(row),
            is_right=bool(held["is_right"]),
            dataset=str(self.sources[index]),
            name=str(held["name"]),
            sequence=str(held["sequence"]),
            frame=held["frame"],
            bbox=hand_box(points, seen),
            **{key: held[key] for key in _AS_STORED},
        )

    def scene(self, index: int) -> int:
        return int(self.sequences[index])

    def truth(self) -> HandSet:
        """The annotations that came with the pictures, in the patches' pixels; of joints none where there are none."""
        fields = {key: self._all(key)[self._stored] for key in (*_TRUTH, "K", "name", "frame")}
        names = zip(self.sources.tolist(), fields["name"].tolist(), strict=True)
        has_3d, has_2d = fields["joints_3d_valid"].any(), fields["joints_2d_valid"].any()
        return HandSet(
            ids=tuple(f"{source}/{name}" for source, name in names),
            joints=fields["joints_3d"].astype(np.float64) if has_3d else None,
            joints_2d=fields["joints_2d"].astype(np.float64) if has_2d else None,
            joints_valid=fields["joints_3d_valid" if has_3d else "joints_2d_valid"] if has_3d or has_2d else None,
            sequences=tuple(self.sequence_names[number] for number in self.sequences),
            frames=tuple(self.frames.tolist()),
            K=fields["K"].astype(np.float64),
            source="detected hands",
        )

    def runs(self) -> list[NDArray[np.int64]]:
        """The samples of each run in order of time; a still is a run of one."""
        return split_runs(self._run)

    def windows(self, frames: int, interval: int) -> Int[np.ndarray, "W n"]:
        """The samples of all windows of so many frames so far apart, see `windows_in`; `sequences` says of whom."""
        if frames < 1 or interval < 1:
            raise HandkitError(f"windows of {frames} frames, {interval} apart", "give 1 or more of both")
        return windows_in(self.runs(), self.frames, frames=frames, interval=interval)

    def subset(self, rows: Sequence[int] | NDArray[np.integer]) -> "DetectedHands":
        """Some of the samples, in their order here; windows have frames of these alone."""
        own = np.arange(len(self)) if self._chosen is None else self._chosen
        return DetectedHands(self.paths, rows=own[np.unique(np.asarray(rows, np.int64))])

    def split(self, held_out: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The samples to learn from and those held out, about this share of each source.

        Of a source with `MANY_SEQUENCES` or more whole sequences, the last ones; of one with fewer the last part of
        every sequence in time; of stills the last. Raises HandkitError for a share outside [0, 1).
        """
        if not 0 <= held_out < 1:
            raise HandkitError(f"a share of {held_out:g} held out", "give a number from 0 to less than 1")
        is_held = np.zeros(len(self), bool)
        for source in np.unique(self.sources):
            own = self.sources == source
            stills, moving = np.flatnonzero(own & self.is_still), np.flatnonzero(own & ~self.is_still)
            parts = np.split(moving, np.flatnonzero(np.diff(self.sequences[moving])) + 1)
            whole = (
                _last(parts, held_out) if len(parts) >= MANY_SEQUENCES else [_last(part, held_out) for part in parts]
            )
            for part in (*whole, _last(stills, held_out)):
                is_held[part] = True
        return np.flatnonzero(~is_held), np.flatnonzero(is_held)


def _sequence_keys(file: PatchFile) -> list[tuple[str, ...]]:
    """Whom each hand of a file belongs to; a still to itself alone."""
    sides = zip(file.fields["sequence"].tolist(), file.fields["is_right"].tolist(), strict=True)
    source = str(file.card["source"])
    return [
        (source, sequence, "right" if is_right else "left") if sequence else (f"{file.path}:{row}",)
        for row, (sequence, is_right) in enumerate(sides)
    ]


def _last(items: Any, share: float) -> Any:
    """The last `share` of a list or array, rounded."""
    return items[len(items) - round(share * len(items)) :]
