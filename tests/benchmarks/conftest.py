"""Benchmarks are scripts that import one another by name, and say how much the log tells."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(FOLDER)
    log = logging.getLogger("handkit")
    level = log.level
    yield
    log.setLevel(level)
