"""How steady hands are along their sequences: turning (S2HAND(V) Eq. 17), shape and lighted texture (Tab. 9).

Nothing here needs a truth, but parameters: of predictions in hands.npz, with `appearance.npz` beside it for texture.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from handkit.evaluate.rows import OwnRows, rotations_of
from handkit.evaluate.scores import SequenceLooks
from handkit.export.appearance import Appearance
from handkit.hand import load_hand
from handkit.metrics import frame_runs, quaternion_smoothness_rad, sd_over_time
from handkit.render.shading import face_normals, lighted_texture

KEYS: Final = ("quaternion_rad", "shape_sd", "texture_sd")
_WINDOW: Final = 3
_RGB: Final = 255.0


@dataclass(frozen=True, eq=False)
class Tracks:
    """Which of N samples belong together in time.

    `rows` are places among a method's own rows, -1 without a prediction. A sample of sequence "" stands alone; frame
    numbers tell gaps.
    """

    rows: Int[np.ndarray, " N"]
    sequences: tuple[str, ...]
    frames: tuple[int, ...]


def numbered(sequences: Sequence[str]) -> tuple[int, ...]:
    """Frame numbers of samples that follow one another in their sequences."""
    count: Counter[str] = Counter()
    numbers = []
    for name in sequences:
        numbers.append(count[name])
        count[name] += 1
    return tuple(numbers)


def add_steadiness(
    own: OwnRows,
    tracks: Tracks,
    summary: dict[str, float | int | None],
    per_sample: dict[str, Float[np.ndarray, " N"]],
) -> tuple[SequenceLooks, ...]:
    """`KEYS` added to both, and what the report draws of each sequence of two frames or more.

    quaternion_rad: mean over all windows of 3 successive frames, a window's value at its middle frame; none spans a
    gap. shape_sd and texture_sd: S.D. over the frames of a sequence, mean over its dimensions; a sequence's value
    stands at its first frame, so that means are over sequences. Textures are lighted by Eq. 22: not cut to [0, 1],
    normals of the hand's zero pose. Where a sequence shows hands of both sides each side is one of its own.
    """
    groups = _groups(own, tracks)
    found = {name: np.full(len(tracks.rows), np.nan) for name in KEYS}
    found["quaternion_rad"] = _turning(own, tracks, groups)
    looks = []
    for name, places in groups.items():
        if len(places) < 2:
            continue
        rows = tracks.rows[places]
        betas = own.hands.betas[rows].astype(np.float64)
        found["shape_sd"][places[0]] = float(sd_over_time(torch.from_numpy(betas)))
        face_sd = None
        if own.appearance is not None:
            lighted = _lighted(own.appearance.rows(rows), own.hands.hand_model)
            found["texture_sd"][places[0]] = float(sd_over_time(lighted.flatten(1)))
            face_sd = _RGB * lighted.numpy().std(0).mean(-1)
        looks.append(SequenceLooks(name, betas, face_sd))
    for name, column in found.items():
        if np.isfinite(column).any():
            per_sample[name] = column
            summary[name] = float(np.nanmean(column))
    return tuple(looks)


def _groups(own: OwnRows, tracks: Tracks) -> dict[str, Int[np.ndarray, " T"]]:
    """Places with a prediction of each sequence, by side where it has both, in order of time."""
    order = np.argsort(np.asarray(tracks.frames), kind="stable")
    by_side: dict[str, dict[bool, list[int]]] = {name: {} for name in dict.fromkeys(tracks.sequences) if name}
    for place in order.tolist():
        row, name = tracks.rows[place], tracks.sequences[place]
        if row >= 0 and name:
            by_side[name].setdefault(bool(own.hands.is_right[row]), []).append(place)
    return {
        name if len(sides) == 1 else f"{name}, {'right' if is_right else 'left'}": np.array(places)
        for name, sides in by_side.items()
        for is_right, places in sides.items()
    }


def _turning(own: OwnRows, tracks: Tracks, groups: dict[str, Int[np.ndarray, " T"]]) -> Float[np.ndarray, " N"]:
    """Eq. 17 of the window about each sample, NaN where it has none."""
    found = np.full(len(tracks.rows), np.nan)
    turns = rotations_of(own.hands).astype(np.float64)
    for places in groups.values():
        for run in frame_runs([""] * len(places), [tracks.frames[place] for place in places]):
            if len(run) >= _WINDOW:
                windows = np.lib.stride_tricks.sliding_window_view(places[run], _WINDOW)
                window = torch.from_numpy(turns[tracks.rows[windows]])
                found[windows[:, 1]] = quaternion_smoothness_rad(window, frames=_WINDOW).numpy()
    return found


def _lighted(appearance: Appearance, hand: str) -> Float[Tensor, "T 1538 3"]:
    """Eq. 22; lights of left hands are those of their mirror images, so normals are the right hand's."""
    texture, light = (torch.from_numpy(part.astype(np.float64)) for part in (appearance.texture, appearance.light))
    return lighted_texture(texture, _rest_normals(hand), light)


@lru_cache(maxsize=4)
def _rest_normals(hand: str) -> Float[Tensor, "1538 3"]:
    model = load_hand(hand, "right")
    return face_normals(torch.tensor(model.v_template), torch.tensor(model.faces)).double()
