"""Can the network learn at all: two synthetic sequences until they are known by heart, on the CPU.

    python benchmarks/seqhand_overfit.py [OUT] [KEY=VALUE ...]

Prints 3D and 2D errors of the same two sequences in evaluation mode, and the seconds that it took. KEY=VALUE changes
the recipe `seqhand-small`.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from handkit.hand.model import load_hand
from handkit.methods.seqhand import Batch, SeqHandMethod
from handkit.methods.seqhand_loss import SeqHandLoss
from handkit.methods.seqhand_recipe import SeqHandRecipe
from handkit.nets import build_network
from handkit.recipe import load_recipe
from handkit.synth.batches import SyntheticBatches
from handkit.train import Place, TrainResult, seed_all, train

CHANGES = [
    "data.batch=2",
    "data.sequences=2",
    "train.steps=700",
    "train.lr=2e-3",
    "train.warmup_steps=50",
    "train.ema=off",
    "train.log_every=50",
    "train.validate_every=100",
    "train.save_every=700",
]


class Same:
    """The training batch, for validation."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def batches(self, place: Place) -> Iterator[Batch]:
        yield self.batch


def overfit(out: Path, changes: list[str], *, show_progress: bool = False) -> TrainResult:
    """Train on two sequences; the result's metrics are of the same two."""
    settings = load_recipe(SeqHandRecipe, "seqhand-small", [*CHANGES, *changes])
    seed_all(settings.train.seed)
    source = SyntheticBatches(
        seed=settings.train.seed,
        batch=settings.data.batch,
        recipe=settings.data.recipe,
        size=settings.network.size,
        frames=settings.data.frames,
        sequences=settings.data.sequences,
        mask_distance=True,
    )
    method = SeqHandMethod(
        build_network(settings.network.name),
        load_hand("open", "right"),
        objective=SeqHandLoss(settings.loss, from_root=False),
        source=source,
        held_out=Same(source.make(range(settings.data.batch))),
        learned_from={"size": settings.network.size},
    )
    resolved = settings.model_dump(mode="json")
    return train(
        method, settings.train, out=out, resolved=resolved, device="cpu", force=True, show_progress=show_progress
    )


def main() -> None:
    arguments = sys.argv[1:]
    given = [part for part in arguments if "=" in part]
    folders = [part for part in arguments if "=" not in part]
    with tempfile.TemporaryDirectory() as temporary:
        started = time.monotonic()
        found = overfit(Path(folders[0] if folders else temporary), given, show_progress=sys.stderr.isatty())
        seconds = time.monotonic() - started
    print(f"{found.step} steps in {seconds:.0f} s, best at step {found.best_step}")
    for name, value in found.metrics.items():
        print(f"  {name} {value:.3f}")


if __name__ == "__main__":
    main()
