"""Compiled CPU kernels: numba, cached on disk where any folder can be written."""

from collections.abc import Callable
from typing import Any

import numba


def compiled(kernel: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """Compile `kernel` on its first call, without the interpreter lock, and keep the machine code for the next process.

    numba keeps it in NUMBA_CACHE_DIR, else beside the source file, else in the user's cache folder; where none of
    them can be written the kernel is compiled anew in every process. `options` are numba's own.
    """
    try:
        return numba.njit(cache=True, nogil=True, **options)(kernel)
    except RuntimeError:
        return numba.njit(nogil=True, **options)(kernel)
