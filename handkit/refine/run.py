"""`handkit refine`: predictions files, one after the other."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson
import torch
from tqdm import tqdm

from handkit import __version__
from handkit.demo.results import HANDS
from handkit.demo.run import FAILED, INTERRUPTED
from handkit.demo.summary import SUMMARY, write_summary
from handkit.errors import HandkitError
from handkit.files import check_writable
from handkit.refine.inputs import Source, find_sources
from handkit.refine.job import JobTools, RefineJob, SourceRecord
from handkit.refine.masks import MaskChoice
from handkit.refine.options import RefineOptions

_VERB: Final = "refine"


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
    all of them: an output that cannot be written, masks that are not there, a device that is not.
    """
    started = time.monotonic()
    check_writable(out)

    def progress(items: Iterable[Any], title: str, total: int | None) -> Iterable[Any]:
        if not show_progress:
            return items
        return tqdm(items, desc=title, total=total, leave=False, delay=1.0, dynamic_ncols=True)

    masks = MaskChoice(options.masks, options.segmenter)
    tools = JobTools(options, out, masks, _device(options.device), progress, on_error)
    sources, failures = find_sources(predictions)
    records = []
    for failure in failures:
        on_error(failure.error)
        records.append(_failed(failure.name, failure.error))
    interrupted = False
    try:
        for source in sources:
            records.append(_do(source, tools, force=force, debug=debug))
    except KeyboardInterrupt:
        interrupted = True
        done = {record.predictions for record in records}
        left = [source for source in sources if str(source.path) not in done]
        records += [SourceRecord(predictions=str(source.path), status="not done") for source in left]
    summary = {
        "handkit": __version__,
        "verb": _VERB,
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


def _do(source: Source, tools: JobTools, *, force: bool, debug: bool) -> SourceRecord:
    """The record of one file; an unexpected error fails it alone, and rises when debugging."""
    started = time.monotonic()
    try:
        target = tools.out / source.name / HANDS
        if target.resolve() == source.path.resolve():
            raise HandkitError(f"{source.path} would be overwritten", "choose another --out")
        if target.exists() and not force:
            raise HandkitError(f"{target} is there already", "choose another --out, or replace it by --force")
        return RefineJob(source, tools).run()
    except HandkitError as raised:
        error = raised
    except Exception as raised:
        if debug:
            raise
        what = f"{source.path}: unexpected {type(raised).__name__}: {raised}"
        error = HandkitError(what, "run again with --debug and report what it shows")
    tools.on_error(error)
    return _failed(str(source.path), error, time.monotonic() - started)


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
        return bool(orjson.loads(path.read_bytes())["verb"] != _VERB)
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
        return False
