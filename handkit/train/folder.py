"""A run's folder: whose it is, and what may change when a run goes on."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from handkit.checkpoint import load_resume
from handkit.errors import HandkitError
from handkit.files import atomic_path

RESUME = "resume.pt"
_LOGS = ("log.jsonl", "train.csv", "validation.csv")
_MAY_CHANGE = tuple(f"train.{name}" for name in ("log_every", "validate_every", "save_every", "tensorboard"))
_MAY_GROW = "train.steps"
_ABSENT = object()


def open_folder(out: Path, name: str, resolved: dict[str, Any], *, force: bool) -> tuple[dict[str, Any] | None, str]:
    """The state to go on from, None for a new run, and what changed in the recipe, which is then written.

    A run that goes on may have more steps, and rows, validations and saves at other steps. Raises HandkitError where
    `out` holds something else, unless `force`, which drops what it holds.
    """
    kept, resume = out / "recipe.json", out / RESUME
    changes = ""
    if force:
        for path in (resume, *(out / log for log in _LOGS)):
            path.unlink(missing_ok=True)
    elif kept.is_file():
        changes = _allowed_changes(out, _read(kept), resolved)
    elif (out / f"{name}.safetensors").exists():
        raise HandkitError(
            f"{out} holds {name} weights of another run", "give another --out, or --force to replace them"
        )
    state = load_resume(resume) if resume.is_file() else None
    if state is None or changes:
        with atomic_path(kept) as partial:
            partial.write_text(json.dumps(resolved, indent=2) + "\n")
    return state, changes if state is not None else ""


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise HandkitError(f"{path} cannot be read ({error})", "start the run over with --force") from error


def _allowed_changes(out: Path, before: dict[str, Any], now: dict[str, Any]) -> str:
    """What differs, in words. Raises HandkitError for the first key that may not."""
    told = []
    for key, old, value in _differences(before, now):
        if key not in _MAY_CHANGE and not (key == _MAY_GROW and isinstance(old, int) and value > old):
            raise HandkitError(
                f"{out} holds a run of another recipe: {key} is {_say(old)} there, {_say(value)} here",
                "give another --out, or --force to start over; a run may go on with more train.steps",
            )
        told.append(f"{key} {_say(old)} -> {_say(value)}")
    return ", ".join(told)


def _differences(before: dict[str, Any], now: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    old, new = dict(_flat(before)), dict(_flat(now))
    for key in dict.fromkeys([*new, *old]):
        if old.get(key, _ABSENT) != new.get(key, _ABSENT):
            yield key, old.get(key, _ABSENT), new.get(key, _ABSENT)


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _say(value: object) -> str:
    return "absent" if value is _ABSENT else json.dumps(value)
