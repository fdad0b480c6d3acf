"""`handkit refine`: predictions files, one after the other."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import torch
from tqdm import tqdm

from handkit import __version__
from handkit.demo.inputs import Failure
from handkit.demo.run import FAILED, INTERRUPTED
from handkit.demo.summary import SUMMARY, write_summary
from handkit.errors import HandkitError
from handkit.files import check_writable
from handkit.refine.inputs import Source, find_sources, find_views
from handkit.refine.job import JobTools, RefineJob
from handkit.refine.masks import settle_masks
from handkit.refine.options import RefineOptions
from handkit.refine.records import VERB, SourceRecord
from handkit.refine.rig import Rig, load_rig


@dataclass(frozen=True, eq=False)
class RefineResult:
    """What a run did: a record per predictions file, and summary.json's object."""

    out: Path
    records: list[SourceRecord]
    summary: dict[str, Any]
    interrupted: bool = False

    @property
    def exit_code(self) -> int:
        """0 done, 1 something failed, 130 interrupted."""
        if self.interrupted:
            return INTERRUPTED
        return FAILED if any(record.is_bad for record in self.records) else 0


def run_refine(
    predictions: Sequence[str],
    out: Path,
    options: RefineOptions,
    *,
    force: bool = False,
    show_progress: bool = False,
    on_error: Callable[[HandkitError], None] = lambda error: None,
    debug: bool = False,
) -> RefineResult:
    """Refine all predictions files.

    An error of a file or a hand is given to `on_error` and ends in the records. Raises HandkitError for what concerns
    all of them: an output that cannot be written, masks or weights that are not there, a device that is not.
    """
    started = time.monotonic()
    check_writable(out)

    def progress(items: Iterable[Any], title: str, total: int | None) -> Iterable[Any]:
        if not show_progress:
            return items
        return tqdm(items, desc=title, total=total, leave=False, delay=1.0, dynamic_ncols=True)

    options, masks = settle_masks(options)
    units, failures, rig = _units(predictions, out, options)
    tools = JobTools(options, out, masks, rig, _device(options.device), progress, on_error)
    records = []
    for failure in failures:
        on_error(failure.error)
        records.append(_failed(failure.name, failure.error))
    interrupted, reached = False, 0
    try:
        for unit in units:
            records += _do(unit, tools, force=force, debug=debug)
            reached += 1
    except KeyboardInterrupt:
        interrupted = True
        records += [record for unit in units[reached:] for record in _so_far(unit, tools)]
    summary = {
        "handkit": __version__,
        "verb": VERB,
        "out": str(out),
        "seconds": round(time.monotonic() - started, 3),
        "interrupted": interrupted,
        "totals": {
            name: sum(getattr(record, name) for record in records) for name in ("hands", "refined", "kept", "failed")
        },
        "options": options.to_json(),
        "predictions": [record.to_json() for record in records],
    }
    if not _is_of_another_verb(out / SUMMARY):
        write_summary(out, summary)
    return RefineResult(out, records, summary, interrupted)


def _units(
    predictions: Sequence[str], out: Path, options: RefineOptions
) -> tuple[list[tuple[Source, ...]], list[Failure], Rig | None]:
    """What is refined together: every file alone, or all of them as the views of a rig."""
    if options.rig is None:
        sources, failures = find_sources(predictions, out)
        return [(source,) for source in sources], failures, None
    rig = load_rig(options.rig, len(predictions))
    return [tuple(find_views(predictions, out))], [], rig


def _do(unit: Sequence[Source], tools: JobTools, *, force: bool, debug: bool) -> list[SourceRecord]:
    """The records of files done together; an unexpected error fails them alone, and rises when debugging."""
    started = time.monotonic()
    names = ", ".join(str(source.path) for source in unit)
    try:
        return RefineJob(unit, tools).run(force=force)
    except HandkitError as raised:
        error = raised
    except Exception as raised:
        if debug:
            raise
        what = f"{names}: unexpected {type(raised).__name__}: {raised}"
        error = HandkitError(what, "run again with --debug and report what it shows")
    tools.on_error(error)
    return [_failed(str(source.path), error, time.monotonic() - started) for source in unit]


def _so_far(unit: Sequence[Source], tools: JobTools) -> list[SourceRecord]:
    """Records of files that were interrupted or not reached: done before, or not done."""
    try:
        settled = RefineJob(unit, tools).settled()
    except HandkitError:
        settled = None
    return settled or [SourceRecord(predictions=str(source.path), status="not done") for source in unit]


def _failed(name: str, error: HandkitError, seconds: float = 0.0) -> SourceRecord:
    return SourceRecord(predictions=name, status="failed", why=error.what, fix=error.fix, seconds=round(seconds, 3))


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise HandkitError(
            "--device cuda: no CUDA device is available", "leave --device out, or install a CUDA build of torch"
        )
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


def _is_of_another_verb(path: Path) -> bool:
    """Whether the summary there tells of a run that this one must not replace."""
    try:
        return bool(orjson.loads(path.read_bytes())["verb"] != VERB)
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
        return False
