"""What a `generate` run did, for people: a few lines, and what to do next."""

import sys
from collections.abc import Iterator
from typing import Any

from rich.console import Console

_SHOWN = 3


def print_report(summary: dict[str, Any]) -> None:
    """Print to stdout the object that --json would print."""
    console = Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 120)
    for line in _planned(summary) if summary.get("dry_run") else _done(summary):
        console.print(line, soft_wrap=True)


def _planned(summary: dict[str, Any]) -> Iterator[str]:
    yield f"{_counts(summary)} in {summary['shards']} shards would be {_size(summary['bytes'])}"
    yield (
        f"in about {_duration(summary['seconds'])} with {summary['workers']} worker{'s' * (summary['workers'] > 1)}, "
        f"{summary['frames_per_s']:.0f} frames/s (from {summary['measured']} {summary['unit']}s)"
    )
    yield "next: the same command without --dry-run"


def _done(summary: dict[str, Any]) -> Iterator[str]:
    before = f" ({summary['shards_there_before']} there before)" if summary["shards_there_before"] else ""
    yield f"{_counts(summary)} in {summary['shards']} shards{before}, {_size(summary['bytes'])}"
    if summary["shards_made"]:
        yield f"{summary['frames_per_s']:.0f} frames/s, {_duration(summary['seconds'])} in all"
    skipped = summary["pictures_skipped"]
    if skipped:
        more = ", ..." if len(skipped) > _SHOWN else ""
        yield f"{len(skipped)} background pictures were skipped: {', '.join(skipped[:_SHOWN])}{more}"
    for path in summary["preview"]:
        yield f"wrote {path}"
    if summary["interrupted"]:
        missing = summary["sequences_asked"] - summary["sequences"]
        yield f"interrupted: the same command again makes the {missing} {summary['unit']}s that are missing"
        return
    yield f"wrote {summary['dataset']}"
    other = "val" if summary["split"] == "train" else "train"
    yield f"next: handkit generate {summary['kind']} --split {other} --out {summary['out']}-{other}"


def _counts(summary: dict[str, Any]) -> str:
    return f"{summary['sequences']} {summary['unit']}s, {summary['frames']} frames"


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"
