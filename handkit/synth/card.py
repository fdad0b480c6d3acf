"""What a folder of shards says it holds: `dataset.json`, or `unfinished.json` while it is being made."""

import logging
import platform
from pathlib import Path
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
import orjson
import torch

from handkit import __version__
from handkit.errors import HandkitError
from handkit.files import atomic_path
from handkit.labels import BACKGROUND, FOREARM, HAND, OCCLUDER
from handkit.synth.digest import combined_digest
from handkit.synth.shard_job import ShardJob
from handkit.synth.shards import ShardNote, remove_shards
from handkit.synth.statistics import add_counts

log = logging.getLogger(__name__)

DATASET: Final = "dataset.json"
UNFINISHED: Final = "unfinished.json"


def claim_folder(job: ShardJob, fingerprint: str, *, force: bool) -> None:
    """Raise HandkitError where the folder holds what this run would spoil; with `force` remove it."""
    if force:
        remove_shards(job.out, job.kind)
        return
    held = read_dataset(job.out)
    if held is None:
        if next(job.out.glob("*.tar"), None) is not None:
            raise HandkitError(
                f"{job.out} holds shards, and nothing says of which recipe", "choose another --out, or --force"
            )
        return
    if held.get("fingerprint") != fingerprint:
        raise HandkitError(
            f"{job.out} holds another set: {_differences(held, job)}",
            "choose another --out, or replace it by --force",
        )
    if held.get("sequences", 0) > job.sequences:
        raise HandkitError(
            f"{job.out} holds {held['sequences']} sequences, more than --sequences {job.sequences}",
            f"ask for at least {held['sequences']}, or replace them by --force",
        )


def read_dataset(folder: Path) -> dict[str, Any] | None:
    """What a folder says it holds, finished or not; None where it says nothing."""
    for name in (DATASET, UNFINISHED):
        try:
            held = orjson.loads((folder / name).read_bytes())
        except (OSError, orjson.JSONDecodeError):
            continue
        if isinstance(held, dict):
            return held
    return None


def _differences(held: dict[str, Any], job: ShardJob) -> str:
    """The settings that are not this run's, told in one line."""
    old, new = _flat(job.completed(held.get("settings", {}))), _flat(job.completed(job.settings()))
    changed = [
        f"{key} {_told(old.get(key))}, not {_told(new.get(key))}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]
    return "; ".join(changed) or "its poses, hand, pictures or handkit's generator have changed since"


def _told(value: object) -> str:
    return orjson.dumps(value).decode()


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found = {}
    for key, value in settings.items():
        found.update(_flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return found


def _unfinished(job: ShardJob, fingerprint: str) -> dict[str, Any]:
    return {
        "handkit": __version__,
        "kind": job.kind,
        "finished": False,
        "fingerprint": fingerprint,
        "sequences": job.sequences,
        "settings": job.settings(),
    }


class Loaded(NamedTuple):
    """What dataset.json says of the sources."""

    sources: dict[str, str]
    licences: dict[str, str]
    recorded_digest: str | None


def describe_sources(job: ShardJob, maker: Any) -> Loaded:
    return Loaded(job.sources(maker), job.licences(maker), job.recorded_digest(maker))


def write_unfinished(job: ShardJob, fingerprint: str) -> None:
    """Say what is being made; a folder is finished when it has a dataset.json."""
    for name in (DATASET, *job.beside()):
        (job.out / name).unlink(missing_ok=True)
    _write(job.out / UNFINISHED, _unfinished(job, fingerprint))


def write_dataset(job: ShardJob, loaded: Loaded, fingerprint: str, notes: list[ShardNote]) -> None:
    """Write dataset.json and what stands beside it, and remove what said that it is not finished."""
    digest, expected = annotations_digest(notes), loaded.recorded_digest
    if expected not in (None, digest):
        log.warning("the default validation set came out other than recorded: figures on it compare with no others")
    for name, content in job.beside().items():
        _write(job.out / name, content)
    _write(
        job.out / DATASET,
        {
            **_unfinished(job, fingerprint),
            "finished": True,
            "frames": sum(note.frames for note in notes),
            "bytes": sum(note.bytes for note in notes),
            "annotations": digest,
            "annotations_as_recorded": None if expected is None else expected == digest,
            "mask_values": {"background": BACKGROUND, "occluder": OCCLUDER, "forearm": FOREARM, "hand": HAND},
            "sources": loaded.sources,
            "statistics": add_counts(note.statistics for note in notes),
            "pictures_skipped": pictures_skipped(notes),
            "licences": loaded.licences,
            "versions": {
                "python": platform.python_version(),
                "numpy": np.__version__,
                "torch": torch.__version__,
                "opencv": cv2.__version__,
            },
            "shards": [note.model_dump(include={"name", "first", "sequences", "bytes", "sha256"}) for note in notes],
        },
    )
    (job.out / UNFINISHED).unlink(missing_ok=True)


def annotations_digest(notes: list[ShardNote]) -> str:
    return combined_digest(value for note in notes for value in note.digests)


def pictures_skipped(notes: list[ShardNote]) -> list[str]:
    return sorted({path for note in notes for path in note.pictures_skipped})


def _write(path: Path, content: dict[str, Any]) -> None:
    with atomic_path(path) as partial:
        partial.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n")
