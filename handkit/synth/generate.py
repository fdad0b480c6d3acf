"""`handkit generate`: what is missing of the shards is made, then `dataset.json` says what they hold.

A folder holds one recipe, seed and split. While it is not finished `unfinished.json` says which; `dataset.json` is
written last.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tqdm import tqdm

from handkit import __version__
from handkit.errors import HandkitError
from handkit.files import check_writable
from handkit.synth.card import (
    DATASET,
    annotations_digest,
    claim_folder,
    describe_sources,
    pictures_skipped,
    write_dataset,
    write_unfinished,
)
from handkit.synth.shard_job import ShardJob
from handkit.synth.shards import ShardNote, clear_temporaries, finished_shard
from handkit.synth.threads import cores
from handkit.synth.workers import make_shards

INTERRUPTED: Final = 130
_MEASURED = 20  # sequences


@dataclass(frozen=True, kw_only=True)
class GenerateResult:
    """What a run did; `summary` is the object of --json."""

    job: ShardJob
    summary: dict[str, Any]
    interrupted: bool = False

    @property
    def exit_code(self) -> int:
        """0 done, 130 interrupted."""
        return INTERRUPTED if self.interrupted else 0


def run_generate(
    job: ShardJob,
    *,
    workers: int | None = None,
    preview: bool = False,
    force: bool = False,
    show_progress: bool = False,
) -> GenerateResult:
    """Make all shards that are not there yet, in `workers` processes (by default one a core).

    Raises HandkitError where the folder holds other data (and not `force`), another run is writing there, the disk is
    full, or a source cannot be read; finished shards stay, and the same call goes on from them.
    """
    started = time.monotonic()
    check_writable(job.out)
    with _alone_in(job.out):
        maker = job.make(show_progress=show_progress)
        fingerprint = job.fingerprint(maker)
        claim_folder(job, fingerprint, force=force)
        notes, missing = _find_finished(job, fingerprint)
        before = len(notes)
        loaded = describe_sources(job, maker)
        workers = min(workers or cores(), len(missing))
        if missing:
            write_unfinished(job, fingerprint)
        interrupted = False
        shown: tuple[Path, ...] = ()
        making = time.monotonic()
        try:
            if preview:
                shown = job.preview(maker)
                making = time.monotonic()
            if workers > 1:
                maker = None  # each worker loads its own: no need to hold another
            _make_missing(job, maker, notes, missing, fingerprint, workers, show_progress)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            clear_temporaries(job.out, job.kind)
        done = [notes[number] for number in sorted(notes)]
        if not interrupted:
            write_dataset(job, loaded, fingerprint, done)
    now = time.monotonic()
    summary = _summary(job, done, before, seconds=now - started, making_s=now - making)
    summary |= {"interrupted": interrupted, "preview": [str(path) for path in shown]}
    if not interrupted:
        summary |= {"annotations": annotations_digest(done), "dataset": str(job.out / DATASET)}
    return GenerateResult(job=job, summary=summary, interrupted=interrupted)


def measure_run(job: ShardJob, *, workers: int | None = None, show_progress: bool = False) -> dict[str, Any]:
    """What the whole run would take, from a few of its sequences; writes nothing but caches."""
    started = time.monotonic()
    maker = job.make(show_progress=show_progress)
    used = min(workers or cores(), job.shards)
    measured = min(_MEASURED, job.sequences)
    for _ in job.encode(maker, maker.annotate(0)):  # compiles
        pass
    loaded = time.monotonic()
    sizes = []
    for sequence in maker.annotate_many(range(measured)):
        sizes.append([len(part) for _, part in job.encode(maker, sequence)])
    each_s = (time.monotonic() - loaded) / measured
    per_sequence = sum(512 + 512 * -(-size // 512) for parts in sizes for size in parts) / measured
    return {
        "handkit": __version__,
        "verb": f"generate {job.kind}",
        "unit": job.unit,
        "dry_run": True,
        "out": str(job.out),
        "sequences": job.sequences,
        "frames": job.sequences * job.frames,
        "shards": job.shards,
        "workers": used,
        "bytes": round(per_sequence * job.sequences),
        "seconds": round(loaded - started + each_s * job.sequences / used, 1),
        "frames_per_s": round(job.frames / each_s * used, 1),
        "measured": measured,
        **job.settings(),
    }


def _make_missing(
    job: ShardJob,
    maker: Any,
    notes: dict[int, ShardNote],
    missing: list[int],
    fingerprint: str,
    workers: int,
    show_progress: bool,
) -> None:
    """Add the notes of all that is missing to `notes`, as it gets done."""
    total = sum(len(job.indices(number)) for number in missing) * job.frames
    bar = tqdm(total=total, desc="generate", unit="frame", delay=1.0, leave=False, disable=not show_progress)
    by_name = {job.shard(number).name: number for number in missing}
    made = make_shards(
        job,
        maker,
        missing,
        fingerprint=fingerprint,
        workers=workers,
        on_sequence=lambda: bar.update(job.frames),
    )
    with bar, closing(made):
        try:
            for note in made:
                notes[by_name[note.name]] = note
        except HandkitError as error:
            stay = f"; the {len(notes)} finished shards stay, and the same command goes on from them" if notes else ""
            raise HandkitError(error.what, error.fix + stay) from error


def _find_finished(job: ShardJob, fingerprint: str) -> tuple[dict[int, ShardNote], list[int]]:
    """Notes of the shards that are done, and the numbers of those that are not."""
    clear_temporaries(job.out, job.kind)
    notes, missing = {}, []
    for number in range(job.shards):
        note = finished_shard(job.shard(number), fingerprint=fingerprint, sequences=len(job.indices(number)))
        if note is None:
            missing.append(number)
        else:
            notes[number] = note
    return notes, missing


def _summary(job: ShardJob, notes: list[ShardNote], before: int, *, seconds: float, making_s: float) -> dict[str, Any]:
    """What is there now, and how fast what was not there before was made."""
    frames = sum(note.frames for note in notes)
    made = len(notes) - before
    return {
        "handkit": __version__,
        "verb": f"generate {job.kind}",
        "kind": job.kind,
        "unit": job.unit,
        "out": str(job.out),
        "split": job.split,
        "seed": job.seed,
        "seconds": round(seconds, 3),
        "sequences": sum(note.sequences for note in notes),
        "sequences_asked": job.sequences,
        "frames": frames,
        "frames_per_s": round(frames * made / max(len(notes), 1) / making_s, 1),
        "shards": len(notes),
        "shards_made": made,
        "shards_there_before": before,
        "bytes": sum(note.bytes for note in notes),
        "pictures_skipped": pictures_skipped(notes),
    }


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold a folder for one run; let go when the process ends, however it ends."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise HandkitError(f"another run is writing to {folder}", "wait for it, or choose another --out") from None
    except OSError:
        pass  # a file system without locks
    try:
        yield
    finally:
        os.close(handle)
