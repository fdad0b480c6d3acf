"""Pairs of known hands, gathered with the truth in the detector's place."""

from pathlib import Path

import pytest

from tests.gather.pair_making import Gatherer


@pytest.fixture
def gather_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gatherer:
    return Gatherer(tmp_path, monkeypatch.setattr)
