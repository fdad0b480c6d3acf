"""Can HandNet learn at all: sixteen synthetic hands by heart, through all five stages, on the CPU.

    python benchmarks/handnet_overfit.py [OUT] [KEY=VALUE ...]

The hands are single frames, cut out once: no augmentation, keypoints that are true and all there. Learned from and
measured on are the same sixteen, measured in evaluation mode. Prints each stage's figures, and the seconds in all.
OUT/STAGE/previews shows six of them; KEY=VALUE changes the recipe `handnet-small`.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from handkit.data.handnet_batches import HandCropBatches
from handkit.hand.model import load_hand
from handkit.methods.handnet_recipe import STAGES, HandNetRecipe, StageRecipe
from handkit.recipe import load_recipe
from handkit.runs.handnet import run_stage
from handkit.runs.handnet_data import HandNetData
from handkit.synth.batches import SyntheticBatches
from handkit.train import Place, TrainResult

HANDS = 16
STEPS = {"image": 250, "keypoint": 150, "fusion": 50, "finalize": 250, "segmentation": 250}
CHANGES = [
    "network.size=96",
    "data.frame_size=128",
    "data.noise=off",
    "loss.shape_prior=0.0",  # it holds to the mean shape what is to be known by heart
    "loss.joints_3d=100.0",
    "train.ema=off",
    "train.log_every=25",
    "train.validate_every=50",
    "train.save_every=1000",
    *(
        f"stages.{stage}.{key}"
        for stage in STAGES
        for key in (f"steps={STEPS[stage]}", f"batch={HANDS}", "missing=0.0")
    ),
    *(f"stages.{stage}.norm_share=0.7" for stage in ("image", "keypoint", "segmentation")),
    *(f"stages.{stage}.decay_epochs=50" for stage in ("image", "keypoint", "fusion", "finalize")),
]


class Same:
    """The sixteen, again and again; once in a validation."""

    def __init__(self, batch: dict) -> None:
        self.batch = batch

    def batches(self, *given: object) -> Iterator[dict]:
        while True:
            yield self.batch
            if isinstance(given[0], Place):
                return


class KnownHands(HandNetData):
    """The same sixteen to learn from and to choose by."""

    def training(self, stage: StageRecipe) -> Same:
        return self._same

    @property
    def held_out(self) -> Same:  # type: ignore[override]
        return self._same

    @property
    def _same(self) -> Same:
        if "same" not in self._made:
            self._made["same"] = Same(cut_out(self.settings, self))
        return self._made["same"]


def cut_out(settings: HandNetRecipe, data: HandNetData) -> dict:
    data_recipe = settings.data
    frames = SyntheticBatches(
        seed=settings.train.seed,
        batch=HANDS,
        frames=1,
        recipe=data_recipe.recipe,
        size=data_recipe.frame_size,
        sequences=HANDS,
    )
    crops = HandCropBatches(
        frames, data.hand, size=settings.network.size, box_scale=data_recipe.crop.box_scale, seed=0, noise=None
    )
    return next(iter(crops.fixed(HANDS, HANDS, Place())))


def overfit(out: Path, changes: list[str], *, show_progress: bool = False) -> dict[str, TrainResult]:
    settings = load_recipe(HandNetRecipe, "handnet-small", [*CHANGES, *changes])
    data = KnownHands(settings, load_hand(settings.hand, "right"), words="sixteen hands")
    options = {"device": "cpu", "force": True, "show_progress": show_progress}
    return {stage: run_stage(out, stage, settings, data, **options) for stage in settings.stage_names}


def main() -> None:
    arguments = sys.argv[1:]
    given = [part for part in arguments if "=" in part]
    folders = [part for part in arguments if "=" not in part]
    with tempfile.TemporaryDirectory() as temporary:
        started = time.monotonic()
        found = overfit(Path(folders[0] if folders else temporary), given, show_progress=sys.stderr.isatty())
        seconds = time.monotonic() - started
    for stage, run in found.items():
        told = ", ".join(f"{name} {value:.3f}" for name, value in run.metrics.items() if name != "samples")
        print(f"{stage}: {told}; {run.step} steps in {run.seconds:.0f} s, best at {run.best_step}")
    print(f"{seconds:.0f} s in all")


if __name__ == "__main__":
    main()
