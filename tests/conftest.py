"""Shared fixtures; shapes in annotations are checked at run time in the tests (jaxtyping through beartype)."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

CHECKED = [f"handkit.{name}" for name in ("geometry", "hand", "fit", "losses", "metrics")]
install_import_hook(CHECKED, "beartype.beartype")


def _shared(env: str, folder: str) -> Path:
    default = Path(__file__).resolve().parents[2] / "shared" / folder
    path = Path(os.environ.get(env, default))
    if not path.is_dir():
        pytest.skip(f"{folder} is not on this machine (set {env})")
    return path


@pytest.fixture(scope="session")
def realdata() -> Path:
    return _shared("HANDKIT_REALDATA", "realdata")


@pytest.fixture(scope="session")
def reference() -> Path:
    return _shared("HANDKIT_REFERENCE", "reference")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Torch on one thread, so that sums and timings do not depend on what else runs."""
    from handkit.machine import single_thread

    with single_thread():
        yield
