"""Texts of `handkit evaluate`'s options as values; typer.BadParameter where they are none."""

import math
from pathlib import Path

import typer


def parse_files(option: str, texts: list[str]) -> dict[str, Path]:
    """`name=file`, or a file that its own name stands for."""
    methods: dict[str, Path] = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not equals or Path(text).exists():
            name, path = Path(text).stem, text
        if not name or not path:
            raise typer.BadParameter(f"{option} {text!r} is not FILE or NAME=FILE")
        if name in methods:
            raise typer.BadParameter(f"{option}: two methods are called {name!r}; name them by NAME=FILE")
        methods[name] = Path(path)
    return methods


def parse_pair(option: str, text: str | None, known: tuple[str, ...]) -> tuple[str | None, str | None]:
    """One value for predictions and truth, or one each."""
    if text is None:
        return None, None
    parts = parse_names(option, text, known)
    if len(parts) > 2:
        raise typer.BadParameter(f"{option} {text!r}: one value, or two as predictions,truth")
    return parts[0], parts[-1]


def parse_names(option: str, text: str, known: tuple[str, ...]) -> tuple[str, ...]:
    parts = tuple(part.strip().lower() for part in text.split(","))
    unknown = [part for part in parts if part not in known]
    if unknown:
        raise typer.BadParameter(f"{option} {', '.join(map(repr, unknown))}: choose among {', '.join(known)}")
    return parts


def parse_thresholds(text: str) -> tuple[float, float, int]:
    try:
        start, stop, steps = text.split(":")
        values = float(start), float(stop), int(steps)
    except ValueError:
        raise typer.BadParameter(f"--thresholds {text!r} is not START:STOP:STEPS, such as 0:50:100") from None
    if not (0 <= values[0] < values[1] < math.inf and 2 <= values[2] <= 100_000):
        raise typer.BadParameter(f"--thresholds {text!r}: 0 <= START < STOP and at least 2 STEPS")
    return values


def parse_requirements(texts: list[str]) -> tuple[tuple[str, float], ...]:
    required = []
    for text in texts:
        key, _, value = text.partition("=")
        try:
            required.append((key.strip(), float(value)))
        except ValueError:
            raise typer.BadParameter(f"--require {text!r} is not KEY=NUMBER, such as pa_mpjpe_mm=8.0") from None
    return tuple(required)


def parse_key_value(option: str, text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise typer.BadParameter(f"{option} {text!r} is not KEY=VALUE")
    return key.strip(), value
