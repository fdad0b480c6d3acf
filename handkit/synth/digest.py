"""Whether two machines drew the same annotations, told by a hash that rounding does not reach.

Values are counted in steps far above the noise of float64 and of its rounding to float32, so that two machines differ
only where a value lies within that noise of a step's edge: for the 10,000 frames of the default validation set a
chance below one in a hundred.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

# Of what is recorded, with the step it is counted in.
STEPS: Final = {"theta": 1e-3, "beta": 1e-3, "r": 1e-3, "s": 1e-1, "t": 1e-2, "joints_2d": 1e-2, "joints_3d": 1e-5}


def sequence_digest(annotations: Mapping[str, NDArray[Any]], steps: Mapping[str, float] = STEPS) -> str:
    """Hash of recorded arrays, as stored (float32; of a sequence a leading frame axis on all); 16 hex digits."""
    digest = hashlib.sha256()
    for name, step in steps.items():
        counted = np.rint(np.asarray(annotations[name], np.float64) / step).astype("<i8")
        digest.update(f"{name}{counted.shape}".encode())
        digest.update(np.ascontiguousarray(counted).tobytes())
    return digest.hexdigest()[:16]


def combined_digest(digests: Iterable[str]) -> str:
    """Hash of the sequences' hashes in order."""
    return hashlib.sha256("".join(digests).encode()).hexdigest()
