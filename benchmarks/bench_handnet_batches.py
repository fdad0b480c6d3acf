"""Images a second of HandNet's crops of drawn frames on one core: `python benchmarks/bench_handnet_batches.py`.

Processor time, which other work on the machine moves least; the frames alone beside it.
"""

import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch

from handkit.data.handnet_batches import HandCropBatches
from handkit.data.keypoint_noise import KeypointNoise
from handkit.hand import load_hand
from handkit.synth.batches import SyntheticBatches
from handkit.train import Place

BATCH, BATCHES = 16, 8


def images_per_s(batches: Iterator[dict[str, Any]]) -> float:
    next(batches)
    start = time.process_time()
    for _ in islice(batches, BATCHES):
        pass
    return BATCH * BATCHES / (time.process_time() - start)


def main() -> None:
    torch.set_num_threads(1)
    for size in (224, 96):
        frames = SyntheticBatches(seed=1, batch=BATCH, frames=1, size=size)
        crops = HandCropBatches(
            frames,
            load_hand("open"),
            size=size,
            noise=KeypointNoise(),
            reposition=0.5,
            rotate_deg=90.0,
            scale_jitter=0.15,
            blur=2.0,
        )
        alone, cut = (images_per_s(source.batches(0, Place())) for source in (frames, crops))
        print(f"{size} px: {cut:.1f} images/s, frames alone {alone:.1f}, {1000 / cut - 1000 / alone:.1f} ms a crop")


if __name__ == "__main__":
    main()
