"""Work shared out to threads: for what runs without the interpreter's lock, and does not depend on how it is shared."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_threads(run: Callable[[slice], None], number: int, chunk: int) -> None:
    """Call `run` for all chunks of `number` rows, on all cores where there are several."""
    parts = [slice(start, min(start + chunk, number)) for start in range(0, number, chunk)]
    if len(parts) < 2 or cores() < 2:
        for part in parts:
            run(part)
        return
    with ThreadPoolExecutor(cores()) as pool:
        list(pool.map(run, parts))
