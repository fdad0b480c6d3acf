"""Can pairs alone teach a hand: four of them by heart without labels, from a prior that saw 64 samples, on the CPU.

    python benchmarks/binocular_overfit.py [OUT] [KEY=VALUE ...]

The prior is `hand-prior-small` on 64 drawn frames. Then four generated pairs at a time are learned from, by the recipe
`binocular-small` without its held-out part: crops about keypoints that are as noisy as a detector's, masks by GrabCut.
Truth is used to measure the same four, before and after, and for nothing else; the weights are those of the least loss.
Prints for each group the errors of vertices in the right camera, as the hands stand there and Procrustes-aligned, and
how far hands stand off in depth. KEY=VALUE changes `binocular-small`.
"""

import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from handkit.methods.binocular_recipe import BinocularRecipe
from handkit.recipe import load_recipe
from handkit.runs.binocular import BinocularPairs, learn_pairs, load_prior
from handkit.runs.binocular_pairs import find_pairs
from handkit.runs.hand_prior import pretrain_hand_prior

GROUPS, PAIRS = 4, 4
SAMPLES = 64
PRIOR_CHANGES = [
    f"data.sequences={SAMPLES // 2}",
    "data.validation_hands=64",
    "learning.steps=600",
    "train.validate_every=200",
    "train.log_every=50",
    "train.save_every=1000",
]
CHANGES = [
    f"data.pairs={(GROUPS + 1) * PAIRS}",
    f"data.held_out={1 / (GROUPS + 1)}",
    "learning.steps=400",
    "learning.lr=1e-4",
    "learning.norm_share=0",
    "train.validate_every=200",
    "train.log_every=25",
    "train.save_every=1000",
]
SHOWN = {"mpvpe_mm": "camera", "pa_mpvpe_mm": "aligned", "depth_mm": "depth"}


class KnownPairs(BinocularPairs):
    """Some pairs to learn from and to measure."""

    rows: NDArray[np.int64]

    @property
    def learned(self) -> NDArray[np.int64]:
        return self.rows

    @property
    def chosen_by(self) -> NDArray[np.int64]:
        return self.rows


def known(data: BinocularPairs, group: int) -> KnownPairs:
    """The pairs of a group."""
    pairs = KnownPairs(data.settings, data.source, data.hand, data.size, data.box_scale)
    object.__setattr__(pairs, "rows", group * PAIRS + np.arange(PAIRS))
    return pairs


def words(figures: Mapping[str, float]) -> str:
    return ", ".join(f"{title} {figures[key]:.1f}" for key, title in SHOWN.items())


def main(out: Path, changes: list[str]) -> None:
    started = time.monotonic()
    options = {"device": "cpu"}
    prior = pretrain_hand_prior(out / "prior", recipe="hand-prior-small", changes=PRIOR_CHANGES, **options).run
    assert prior is not None
    print(f"prior on {SAMPLES} samples: held-out PA-MPVPE {prior.metrics['pa_mpvpe_mm']:.1f} mm, {prior.seconds:.0f} s")
    settings = load_recipe(BinocularRecipe, "binocular-small", [*CHANGES, *changes])
    data = find_pairs(out, settings, load_prior(prior.weights)[1], **options)
    shares = []
    for group in range(GROUPS):
        run = learn_pairs(out / f"group{group}", settings, prior.weights, known(data, group), **options)
        shares.append(run.after["mpvpe_mm"] / run.before["mpvpe_mm"])
        print(f"group {group}, mm: before {words(run.before)}; after {words(run.after)}")
    print(f"vertices in the camera: {np.mean(shares):.2f} of before; {time.monotonic() - started:.0f} s in all")


if __name__ == "__main__":
    given = [word for word in sys.argv[1:] if "=" not in word]
    changed = [word for word in sys.argv[1:] if "=" in word]
    if given:
        main(Path(given[0]), changed)
    else:
        with tempfile.TemporaryDirectory() as folder:
            main(Path(folder), changed)
