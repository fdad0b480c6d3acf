"""What the runs of several networks learn from."""

from pathlib import Path

import pytest

from tests.command import handkit


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Twelve generated frames, and six stereo pairs."""
    folder = tmp_path_factory.mktemp("shards")
    made = {"seqhand": ("--sequences", 3, "--frames", 4, "--size", 64), "stereo": ("--pairs", 6)}
    for kind, words in made.items():
        code, _, stderr = handkit("generate", kind, "--out", folder / kind, *words, "--workers", 1, "--json")
        assert code == 0, stderr
    return {kind: folder / kind for kind in made}
