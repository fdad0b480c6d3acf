"""What a worker makes in the tests of numbered batches; imports little, as every worker imports it anew."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from handkit.errors import HandkitError

_LARGEST = 40


def numbered(places: Sequence[int]) -> dict[str, Any]:
    """Arrays of several kinds that tell their places; no more than `_LARGEST` of them."""
    if places[-1] >= _LARGEST:
        raise HandkitError(f"nothing is at {places[-1]}", "stop before")
    at = np.array(places)
    large = np.full((len(at), 300, 301), at[:, None, None], np.float32)
    turned = np.asfortranarray(at[:, None] + np.arange(3) / 10)
    kinds = {
        "flag": at % 2 == 0,
        "none": np.zeros((len(at), 0)),
        "turned": turned,
        "tensor": torch.from_numpy(large)[0],
    }
    return {"at": at, "large": large, "key": [str(place) for place in places], "kinds": kinds}
