"""What a run uses of the machine: threads, and the folder for what can be made again."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch


@contextmanager
def single_thread() -> Iterator[None]:
    """Let torch use one thread, so that sums come out the same however many cores there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def cache_folder() -> Path:
    """Where files that can be made again are kept: HANDKIT_CACHE, else handkit in XDG_CACHE_HOME or ~/.cache."""
    named = os.environ.get("HANDKIT_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "handkit"
