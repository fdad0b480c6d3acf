"""A sequence network over hands in motion: the hidden state goes with each track and starts anew where it is broken."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from handkit.checkpoint import CheckpointInfo
from handkit.inference.looks import Look
from handkit.inference.placing import HandsInImage, place_in_image
from handkit.inference.trained import TrainedPredictor
from handkit.nets import SequenceNetwork, read_parameters

CLIP_FRAMES: Final = 10
MAX_GAP_S: Final = 0.5
# Between two frames of one hand, in sides of its square: half of one is 1.1 times the box's longer edge.
_MAX_SHIFT, _MAX_GROWTH = 0.5, 2.0
# A call has at most so many pictures, of at most so many frames of a track.
_CALL_PICTURES, _CALL_FRAMES = 160, 40

State = tuple[Tensor, ...] | None


@dataclass(eq=False)
class _Run:
    """Successive looks of one track without a break: their rows, and what came before them."""

    rows: list[int] = field(default_factory=list)
    state: State = None
    earlier: list[Look] = field(default_factory=list)


@dataclass(eq=False)
class _Track:
    """What is kept of a track between calls."""

    last: Look
    state: State = None
    recent: list[Look] = field(default_factory=list)


class SequencePredictor(TrainedPredictor):
    """Runs a network over looks in order of time and places what it says in the full image.

    A track's hidden state starts anew with it, after a gap longer than `max_gap_s`, when its time does not go on, and
    where its square jumps by half its side or doubles or halves, which is a cut or another hand. Networks that see a
    clip are run on windows of 10 looks (the last one reaches back; shorter tracks repeat their last look); what they
    say of a look depends on the looks given with it, the others' answers do not.
    """

    def __init__(
        self,
        network: SequenceNetwork,
        info: CheckpointInfo,
        *,
        device: str | torch.device = "cpu",
        max_gap_s: float = MAX_GAP_S,
    ) -> None:
        super().__init__(info, device)
        self.network, self.max_gap_s = network.to(device).eval(), max_gap_s
        self._tracks: dict[int | str, _Track] = {}

    def step(self, looks: Sequence[Look]) -> HandsInImage:
        """A row for every look; those of one track in order of time, one frame or many in a call."""
        runs = self._runs(looks)
        found = torch.zeros(len(looks), 26)
        if self.network.sees == "clip":
            self._run_clips(looks, runs, found)
        else:
            self._run_in_time(looks, runs, found)
        squares = np.array([look.square for look in looks], np.float64).reshape(-1, 4)
        is_right = np.array([look.is_right for look in looks], bool)
        return place_in_image(read_parameters(found), squares, is_right, self.hand)

    def forget(self) -> None:
        """Every track starts anew."""
        self._tracks.clear()

    def _runs(self, looks: Sequence[Look]) -> list[_Run]:
        """Looks of each track, cut where it is broken; the first run of a track goes on where the last call ended."""
        runs: list[_Run] = []
        open_runs: dict[int | str, _Run] = {}
        for row, look in enumerate(looks):
            track = self._tracks.get(look.track)
            goes_on = track is not None and self._goes_on(track.last, look)
            if not goes_on or look.track not in open_runs:
                run = _Run(state=track.state, earlier=track.recent) if track is not None and goes_on else _Run()
                runs.append(run)
                open_runs[look.track] = run
            open_runs[look.track].rows.append(row)
            self._tracks[look.track] = _Track(look)
        return runs

    def _goes_on(self, last: Look, look: Look) -> bool:
        gap = look.time_s - last.time_s
        side, before = (float(square[2] - square[0]) for square in (look.square, last.square))
        shift = np.abs(look.square[:2] + look.square[2:] - last.square[:2] - last.square[2:]).max() / 2
        return (
            0 < gap <= self.max_gap_s + 1e-6
            and look.is_right == last.is_right
            and shift <= _MAX_SHIFT * max(side, before)
            and 1 / _MAX_GROWTH <= side / before <= _MAX_GROWTH
        )

    def _run_in_time(self, looks: Sequence[Look], runs: list[_Run], found: Tensor) -> None:
        """Runs of one length and kind together, long ones a stretch at a time."""
        begin = 0
        while left := [run for run in runs if len(run.rows) > begin]:
            alike: dict[tuple[int, bool], list[tuple[_Run, list[int]]]] = {}
            for run in left:
                piece = run.rows[begin : begin + _CALL_FRAMES]
                alike.setdefault((len(piece), run.state is not None), []).append((run, piece))
            for (length, _), chosen in alike.items():
                at_once = max(1, _CALL_PICTURES // length)
                for first in range(0, len(chosen), at_once):
                    self._call(looks, chosen[first : first + at_once], found)
            begin += _CALL_FRAMES
        for run in runs:
            last = looks[run.rows[-1]]
            if self._tracks[last.track].last is last:
                self._tracks[last.track].state = run.state

    def _call(self, looks: Sequence[Look], chosen: list[tuple[_Run, list[int]]], found: Tensor) -> None:
        given = [run.state for run, _ in chosen if run.state is not None]
        state = tuple(torch.cat(parts) for parts in zip(*given, strict=True)) if given else None
        parameters, after = self._network([[looks[row] for row in piece] for _, piece in chosen], state)
        for number, (run, piece) in enumerate(chosen):
            found[piece] = parameters[number]
            run.state = None if after is None else tuple(part[number : number + 1] for part in after)

    def _run_clips(self, looks: Sequence[Look], runs: list[_Run], found: Tensor) -> None:
        """Windows of each run; the last reaches back so as to be whole, into the looks of earlier calls too."""
        windows: list[list[Look]] = []
        places: list[list[tuple[int, int]]] = []  # of each window (place in it, row)
        for run in runs:
            series = [*run.earlier, *(looks[row] for row in run.rows)]
            rows = [None] * len(run.earlier) + run.rows
            for begin in range(len(run.earlier), len(series), CLIP_FRAMES):
                end = min(begin + CLIP_FRAMES, len(series))
                first = max(0, end - CLIP_FRAMES)
                part = series[first:end]
                windows.append(part + [part[-1]] * (CLIP_FRAMES - len(part)))
                places.append([(i - first, row) for i in range(begin, end) if (row := rows[i]) is not None])
            if self._tracks[series[-1].track].last is series[-1]:
                self._tracks[series[-1].track].recent = series[1 - CLIP_FRAMES :]
        at_once = _CALL_PICTURES // CLIP_FRAMES
        for first in range(0, len(windows), at_once):
            parameters, _ = self._network(windows[first : first + at_once], None)
            for values, placed in zip(parameters, places[first : first + at_once], strict=True):
                for place, row in placed:
                    found[row] = values[place]

    def _network(self, batch: Sequence[Sequence[Look]], state: State) -> tuple[Float[Tensor, "B T 26"], State]:
        crops = torch.from_numpy(np.stack([np.stack([look.crop for look in looks]) for looks in batch]))
        images = crops.to(self.device).permute(0, 1, 4, 2, 3).float() / 255
        with torch.inference_mode():
            output = self.network(images, state)
        return output.parameters.float().cpu(), output.state
