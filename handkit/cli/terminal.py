"""How every verb tells errors and logs; imports nothing heavy."""

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from handkit.errors import HandkitError


@contextmanager
def told_errors(unread: str, *, as_json: bool, debug: bool) -> Iterator[None]:
    """End the program with exit 1 on an error that concerns the whole run, 130 where it is interrupted this early."""
    try:
        yield
    except HandkitError as error:
        if debug:
            raise
        say(error)
        if as_json:
            typer.echo(json.dumps({"error": error.what, "try": error.fix}))
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        typer.echo(f"interrupted before any {unread}", err=True)
        raise typer.Exit(130) from None


def say(error: HandkitError) -> None:
    """The two lines that every error is told in."""
    typer.echo(f"error: {error.what}\ntry: {error.fix}", err=True)


def log_to_stderr(*, quiet: bool, debug: bool) -> None:
    """Warnings and worse to stderr; all of it with `debug`, errors alone with `quiet`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_LowerCase("%(levelname)s: %(message)s"))
    logger = logging.getLogger("handkit")
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(logging.ERROR if quiet else logging.DEBUG if debug else logging.WARNING)


class _LowerCase(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        record.levelname = record.levelname.lower()
        return super().format(record)
