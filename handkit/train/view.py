"""What a training run shows while it runs."""

from collections.abc import Mapping
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_NOT_TERMS = frozenset({"step", "lr", "gradient_norm", "images_per_s", "samples_per_s", "data_wait"})


class Pace:
    """How fast a run goes, over the steps since the last row."""

    def __init__(self) -> None:
        self._restart()

    def _restart(self) -> None:
        self._images = self._samples = self._seconds = self._waited = 0.0

    def add(self, *, images: float, samples: float, seconds: float, waited: float) -> None:
        """Take in a step: what all processes took, how long it was, and the share of it that waited for data."""
        self._images += images
        self._samples += samples
        self._seconds += seconds
        self._waited += waited

    def row(self) -> dict[str, float]:
        """Pictures a second (samples, where there are none) over all processes, the share waited; and begin again."""
        seconds = max(self._seconds, 1e-9)
        rate = {"images_per_s": self._images} if self._images else {"samples_per_s": self._samples}
        row = {name: count / seconds for name, count in rate.items()} | {"data_wait": self._waited / seconds}
        self._restart()
        return row


class TrainView:
    """A progress line on stderr: steps, pictures a second, loss terms, time left; nothing where it is not wanted."""

    def __init__(self, steps: int, done: int, *, shown: bool) -> None:
        self._progress = Progress(
            TextColumn("training"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[said]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not shown,
            speed_estimate_period=300,
        )
        self._task = self._progress.add_task("", total=steps, completed=done, said="")

    def __enter__(self) -> "TrainView":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def advance(self) -> None:
        self._progress.advance(self._task)

    def say(self, row: Mapping[str, float]) -> None:
        """Show a row's terms; the rate first."""
        kind = "images" if "images_per_s" in row else "samples"
        terms = "  ".join(f"{name} {value:.4g}" for name, value in row.items() if name not in _NOT_TERMS)
        self._progress.update(self._task, said=f"{row[f'{kind}_per_s']:,.0f} {kind}/s  {terms}")

    def note(self, text: str) -> None:
        """Show words above the line."""
        if not self._progress.disable:
            self._progress.console.print(text, highlight=False, markup=False)
