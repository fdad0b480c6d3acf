"""What a run did: one record per input, `done.json` beside each result, `summary.json` over all.

A unit is done when its `done.json` says so: it is written last, and holds the options' fingerprint with the size and
time of every input, so that a later run skips what has not changed.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, get_args

import orjson

from handkit import __version__
from handkit.demo.options import DemoOptions, stamp_of
from handkit.errors import HandkitError
from handkit.files import atomic_path

Status = Literal["done", "no hand", "damaged", "failed", "not done"]
"""The last one: the run was interrupted before."""

MARKER: Final = "done.json"
SUMMARY: Final = "summary.json"
# Nothing to gain from trying these again.
_SETTLED: Final = ("done", "no hand", "damaged")


@dataclass(frozen=True, kw_only=True)
class InputRecord:
    """What became of one input; `hands` counts rows of hands.npz, `output` is relative to OUT."""

    input: str
    kind: str
    status: Status
    why: str | None = None
    fix: str | None = None
    seconds: float = 0.0
    frames: int = 0
    hands: int = 0
    tracks: int = 0
    fit_error_mm: float | None = None
    camera_source: str | None = None
    output: str | None = None
    skipped: bool = False

    @property
    def status_text(self) -> str:
        """The status as hands.npz holds it: a failure with its reason."""
        return f"{self.status}: {self.why}" if self.why else self.status

    @property
    def is_bad(self) -> bool:
        """Whether the run's exit status tells of it."""
        return self.status in ("failed", "damaged")


def failed(path: Path | str, kind: str, error: HandkitError, seconds: float = 0.0) -> InputRecord:
    """The record of an input that could not be used."""
    return InputRecord(input=str(path), kind=kind, status="failed", why=error.what, fix=error.fix, seconds=seconds)


@dataclass(frozen=True)
class Settled:
    """What an earlier run of the same options settled of one input, and the input's stamp then."""

    path: Path
    record: InputRecord
    stamp: list[int]


def read_marker(folder: Path, fingerprint: str) -> dict[Path, Settled]:
    """By real path: what need not be done again, because neither the options nor the input have changed since."""
    try:
        marker = orjson.loads((folder / MARKER).read_bytes())
        if marker["fingerprint"] != fingerprint:
            return {}
        entries = [
            Settled(Path(entry["path"]), InputRecord(**entry["record"]), entry["stamp"]) for entry in marker["inputs"]
        ]
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
        return {}
    return {
        entry.path: replace(entry, record=replace(entry.record, skipped=True))
        for entry in entries
        if entry.record.status in _SETTLED and entry.path.exists() and entry.stamp == stamp_of(entry.path)
    }


def earlier_record(folder: Path, fingerprint: str, path: Path) -> InputRecord | None:
    """What an earlier run with the same options settled of an unchanged input, under the name it has now."""
    settled = read_marker(folder, fingerprint).get(path.resolve())
    return None if settled is None else replace(settled.record, input=str(path))


def write_marker(folder: Path, fingerprint: str, settled: Iterable[Settled]) -> None:
    """Say what is done in a folder; to be called when all else is written."""
    inputs = [{"path": str(s.path), "stamp": s.stamp, "record": asdict(s.record)} for s in settled]
    _write(folder / MARKER, {"fingerprint": fingerprint, "inputs": inputs})


def build_summary(
    *, options: DemoOptions, out: Path, records: Sequence[InputRecord], seconds: float, interrupted: bool = False
) -> dict[str, Any]:
    """The object of summary.json: every input with its status, the options, and the totals."""
    statuses = [record.status for record in records]
    return {
        "handkit": __version__,
        "verb": "demo",
        "out": str(out),
        "seconds": round(seconds, 3),
        "interrupted": interrupted,
        "totals": {
            "inputs": len(records),
            **{status.replace(" ", "_"): statuses.count(status) for status in get_args(Status)},
            "frames": sum(record.frames for record in records),
            "hands": sum(record.hands for record in records),
        },
        "options": options.to_json(),
        "inputs": [asdict(record) for record in records],
    }


def write_summary(out: Path, summary: dict[str, Any]) -> Path:
    """Write OUT/summary.json."""
    _write(out / SUMMARY, summary)
    return out / SUMMARY


def _write(path: Path, content: dict[str, Any]) -> None:
    with atomic_path(path) as partial:
        partial.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2) + os.linesep.encode())
