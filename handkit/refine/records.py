"""What became of predictions files: the records of `summary.json`, and done.json beside each result.

A result is done when its done.json says so: it is written last, with the fingerprint of what went in, so that a later
run skips what has not changed.
"""

import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import orjson

from handkit.demo.results import HANDS
from handkit.demo.summary import MARKER
from handkit.errors import HandkitError
from handkit.files import atomic_path

VERB: Final = "refine"


@dataclass(frozen=True, kw_only=True)
class SourceRecord:
    """What became of one predictions file; `failed` counts hands, the unreadable rows of the file among them.

    together: hands refined against several views. resumed: hands that an interrupted run had done already.
    rig_unit_m: metres of the rig's unit, as its file says or as the hands do.
    """

    predictions: str
    status: str
    why: str | None = None
    fix: str | None = None
    seconds: float = 0.0
    hands: int = 0
    refined: int = 0
    kept: int = 0
    failed: int = 0
    together: int = 0
    resumed: int = 0
    rig_unit_m: float | None = None
    iou_before: float | None = None
    iou_after: float | None = None
    masks: str | None = None
    output: str | None = None
    skipped: bool = False

    @property
    def is_bad(self) -> bool:
        return self.status == "failed" or self.failed > 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def read_marker(folder: Path, fingerprint: str) -> SourceRecord | None:
    """The record of an earlier run that did the same, None where there is none or its result is gone."""
    marker = _marker(folder)
    if marker is None or marker.get("fingerprint") != fingerprint or not (folder / HANDS).is_file():
        return None
    try:
        return replace(SourceRecord(**marker["record"]), skipped=True)
    except (KeyError, TypeError):
        return None


def write_marker(folder: Path, fingerprint: str, record: SourceRecord) -> None:
    """Say that a folder is done; to be called when all else is written."""
    content = {"verb": VERB, "fingerprint": fingerprint, "record": record.to_json()}
    with atomic_path(folder / MARKER) as partial:
        partial.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2) + os.linesep.encode())


def check_replaceable(folder: Path, sources: list[Path], *, force: bool) -> None:
    """Raise HandkitError where results would replace their own source, or what `refine` did not write."""
    target = folder / HANDS
    for source in sources:
        if target.resolve() == source.resolve():
            raise HandkitError(f"{source} would be overwritten", "choose another --out")
    if target.exists() and not force and _marker(folder) is None:
        raise HandkitError(f"{target} is there already", "choose another --out, or replace it by --force")


def _marker(folder: Path) -> dict[str, Any] | None:
    """done.json where `refine` wrote it."""
    try:
        marker = orjson.loads((folder / MARKER).read_bytes())
        return marker if marker["verb"] == VERB else None
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
        return None
