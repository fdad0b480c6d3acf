"""Pairs of views of hands that `handkit.gather.pairs` found in calibrated videos or pictures, read from their file.

A file is one of `handkit.data.patch_files`: of each pair the left view's patch and then the right one's, all of one
size; the cameras between which `right_from_left` goes are the whole file's, so its card has it. A sample's `bbox` is
the outline of the detected keypoints, its side the one that both views agreed on; there is no truth.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float, Int

from handkit.data.pair_counts import PairCounts
from handkit.data.patch_files import PatchFile, hand_box
from handkit.data.sample import HandSample, StereoSample, build_sample, check_sample
from handkit.errors import HandkitError

KIND: Final = "pairs"
_AS_STORED: Final = ("K", "keypoints_2d", "keypoint_scores", "frame")


class GatheredPairs(torch.utils.data.Dataset[StereoSample]):
    """The pairs of a file, hand by hand in order of time.

    A sequence is one hand in two videos, in its samples `<unit>/<track>`; every pair of stills is one of its own, by no
    name. `sequences` says which (a number) each pair belongs to, `frames` and `times_s` when it was, as the left view
    has it. `how` says what was done to the pictures, `unit_m` what the rig's unit is, or was found to be. Pickles are
    small: the file is opened again. Raises HandkitError for a file that is missing, damaged or of another kind.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file = PatchFile(self.path)
        card, fields = self._file.card, self._file.fields
        if card.get("kind") != KIND or len(self._file) % 2:
            raise HandkitError(f"{path} holds hands, not pairs of views of them", "give a file of gathered pairs")
        self.name, self.how, self.unit_m = str(card["source"]), str(card["how"]), float(card["unit_m"])
        self.right_from_left: Float[np.ndarray, "3 4"] = np.array(card["right_from_left"], np.float32)
        self.counts = PairCounts.from_card(card["counts"])
        names = [name or f"{row}" for row, name in enumerate(fields["sequence"][::2].tolist())]
        _, first, number = np.unique(names, return_index=True, return_inverse=True)
        sequences = np.argsort(np.argsort(first))[number]
        self._order = np.lexsort((fields["frame"][::2], sequences))
        self.sequences: Int[np.ndarray, " N"] = sequences[self._order]
        self.frames: Int[np.ndarray, " N"] = fields["frame"][::2][self._order]
        self.times_s: Float[np.ndarray, " N"] = fields["time_s"][::2][self._order]
        if len(self):
            for view in self[0]["left"], self[0]["right"]:
                check_sample(view)

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, index: int) -> StereoSample:
        if not 0 <= index < len(self):
            raise IndexError(index)
        row = 2 * int(self._order[index])
        return {
            "left": self._view(row),
            "right": self._view(row + 1),
            "right_from_left": self.right_from_left.copy(),
        }

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        GatheredPairs.__init__(self, state["path"])

    @property
    def baseline_m(self) -> float:
        """How far apart the cameras stand."""
        return float(np.linalg.norm(self.right_from_left[:, 3]))

    def to_json(self) -> dict[str, Any]:
        """What was gathered, for a run's summary."""
        known = {"name": self.name, "views": self.how, "unit_m": self.unit_m, "baseline_m": self.baseline_m}
        return {**known, "sequences": len(np.unique(self.sequences)), **self.counts.to_json()}

    def lines(self) -> list[str]:
        """The same in words."""
        words = f"views {self.how}, {1000 * self.baseline_m:.0f} mm apart, {len(np.unique(self.sequences))} sequences"
        return [f"{self.name}: {self.counts.words()}", f"{self.name}: {words}"]

    def _view(self, row: int) -> HandSample:
        held = {key: values[row] for key, values in self._file.fields.items()}
        return build_sample(
            self._file.image(row),
            is_right=bool(held["is_right"]),
            dataset=self.name,
            name=str(held["name"]),
            sequence=str(held["sequence"]),
            bbox=hand_box(held["keypoints_2d"], held["keypoint_scores"] > 0),
            **{key: held[key] for key in _AS_STORED},
        )
