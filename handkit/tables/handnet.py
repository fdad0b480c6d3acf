"""How networks of HandNet's tables are trained: as by `handkit pretrain handnet` and `handkit finetune handnet-stereo`.

"multi-stage" is the recipe's stages but segmentation; "single-stage" is all that learns in them at once, from new
weights, for as many steps. "segmentation" and "stereo" go on with "multi-stage". Each is in OUT/<name>/seed<k>, so that
tables with one OUT share them; drawn pairs are in OUT/data/pairs.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from handkit.errors import HandkitError
from handkit.methods.handnet_recipe import HandNetRecipe, StageRecipe, StagesRecipe, stage_training
from handkit.methods.handnet_stereo_recipe import HandNetStereoRecipe
from handkit.nets.handnet_system import load_handnet
from handkit.recipe import load_recipe
from handkit.runs.handnet import run_stage
from handkit.runs.handnet_data import HandNetData, find_data
from handkit.runs.handnet_stereo import StereoOptions, finetune_handnet_stereo
from handkit.runs.result import RunOptions
from handkit.tables.handnet_recipe import STARTS, HandNetTable
from handkit.tables.recipe import RowRecipe
from handkit.tables.sets import draw
from handkit.tables.training import Described, RowTraining, Say, Trained, training_figures
from handkit.train import TrainResult

_MASKS: Final = "segmentation"
_WHOLE: Final = "finalize"  # the stage that a single one is like


class HandNetTraining(RowTraining[RowRecipe]):
    """Of the table `table`.

    `changes` are made to `recipe`, `stereo_changes` to `stereo_recipe`, for all networks. `shards` are pairs of
    `handkit generate stereo`, which "segmentation" learns from besides the recipe's data sets, and "stereo" alone.
    """

    method = "handnet"
    too_big = "lower stages.image.batch and its like"
    alone = "leave torchrun out, or train by torchrun handkit pretrain handnet and give the weights by --weights"

    def __init__(
        self,
        table: HandNetTable,
        *,
        recipe: str = "handnet",
        stereo_recipe: str = "handnet-stereo",
        changes: Sequence[str] = (),
        stereo_changes: Sequence[str] = (),
        shards: Path | None = None,
    ) -> None:
        self.table: HandNetTable = table
        self._recipe, self._changes = recipe, tuple(changes)
        self._stereo_recipe = stereo_recipe
        self._stereo_changes = (*table.stereo_changes, *stereo_changes)
        self._shards = shards

    @property
    def hand_model(self) -> str:
        return load_recipe(HandNetRecipe, self._recipe, self._changes).hand

    def starts_from(self, row: RowRecipe) -> str | None:
        return STARTS.get(row.name)

    def check(self, rows: Sequence[RowRecipe]) -> None:
        self.check_networks([row.name for row in rows])

    def check_networks(self, names: Sequence[str]) -> None:
        """Raise HandkitError for what would only be found out after hours of training these."""
        if self._shards is not None and not self._shards.exists():
            raise HandkitError(f"{self._shards} does not exist", "check the path")
        for name in names:
            if name == "stereo":
                self.stereo_settings(seed=0)
                continue
            settings = self.settings(name, seed=0)
            for stage in settings.stage_names:
                settings.stage(stage)
            if name != _MASKS:
                _checked_data(settings)

    def prepare(self, out: Path, rows: Sequence[RowRecipe], how: RunOptions, say: Say) -> None:
        self.prepare_networks(out, [row.name for row in rows], how, say)

    def prepare_networks(self, out: Path, names: Sequence[str], how: RunOptions, say: Say) -> None:
        """Draw the pairs that these learn from, where none are given."""
        drawn = self.table.pairs
        if self._shards is None and drawn is not None and any(name in STARTS for name in names):
            self._shards = out / "data" / "pairs"
            say(f"to learn from: {drawn.sequences} pairs in {self._shards}")
            draw(drawn, self._shards, hand_model=self.hand_model, show_progress=how["show_progress"])

    def train(self, row: RowRecipe, out: Path, *, seed: int, init: Path | None, how: RunOptions) -> Trained:
        return self.train_network(row.name, out, seed=seed, init=init, how=how)

    def train_network(self, name: str, out: Path, *, seed: int, init: Path | None, how: RunOptions) -> Trained:
        """Train one of `NETWORKS`, or go on with its run in `out`; `init` are the weights that it begins with."""
        if name == "stereo":
            return self._train_stereo(out, seed=seed, init=init, how=how)
        settings = self.settings(name, seed=seed)
        data = _checked_data(settings)
        runs: list[TrainResult] = []
        for stage in settings.stage_names:
            runs.append(run_stage(out, stage, settings, data, init=init, **how))
            if runs[-1].interrupted:
                break
        return _trained(runs)

    def describe(self, weights: Path) -> Described:
        network, info = load_handnet(weights)
        count = sum(parameter.numel() for parameter in network.parameters())
        return Described(count, str(info.data.get("hand", "open")))

    def settings(self, name: str, *, seed: int) -> HandNetRecipe:
        """By which a network is trained, its stages alone."""
        changes = [*self._changes, f"train.seed={seed}"]
        settings = load_recipe(HandNetRecipe, self._recipe, changes)
        if name == _MASKS:
            shards = [*settings.data.shards, *([] if self._shards is None else [str(self._shards)])]
            data = settings.data.model_copy(update={"shards": tuple(shards)})
            return settings.model_copy(
                update={"data": data, "stages": StagesRecipe(segmentation=settings.stage(_MASKS))}
            )
        stages = {stage: settings.stage(stage) for stage in settings.stage_names if stage != _MASKS}
        if not stages:
            raise HandkitError(f"the recipe {self._recipe} has no stage that learns hands", "use another --recipe")
        if name == "single-stage":
            stages = {_WHOLE: _single(settings, list(stages.values()))}
        return settings.model_copy(update={"stages": StagesRecipe(**stages)})

    def stereo_settings(self, *, seed: int) -> HandNetStereoRecipe:
        """By which "stereo" is trained."""
        return load_recipe(HandNetStereoRecipe, self._stereo_recipe, self._changes_of_stereo(seed))

    def _changes_of_stereo(self, seed: int) -> list[str]:
        shards = [] if self._shards is None else [f"data.shards={json.dumps(str(self._shards))}"]
        return [*self._stereo_changes, *shards, f"train.seed={seed}"]

    def _train_stereo(self, out: Path, *, seed: int, init: Path | None, how: RunOptions) -> Trained:
        if init is None:
            raise ValueError("stereo begins with weights of one view")
        run = finetune_handnet_stereo(
            out, StereoOptions(init=init), recipe=self._stereo_recipe, changes=self._changes_of_stereo(seed), **how
        )
        return _trained(list(run.stages.values()))


def _single(settings: HandNetRecipe, stages: Sequence[StageRecipe]) -> StageRecipe:
    """All that the stages learn, at once and from new weights: as the last of them, by the first one's rate.

    It has as many steps as they have together, at the end of which the rate falls for as long as in the last.
    """
    hands = find_data(settings).hands
    planned = [stage_training(settings.train, stage, hands=hands) for stage in stages]
    steps = sum(one.steps for one in planned)
    last = stages[-1]
    learns = dict.fromkeys(part for stage in stages for part in stage.learns)
    epochs = max(1, round(steps * last.epochs / planned[-1].steps))
    changes = {
        "learns": tuple(learns),
        "after": None,
        "steps": steps,
        "epochs": epochs,
        "lr": stages[0].lr,
        "norm_share": stages[0].norm_share,
    }
    return StageRecipe.model_validate({**last.model_dump(), **changes})


def _checked_data(settings: HandNetRecipe) -> HandNetData:
    """What the stages learn from. Raises HandkitError where that has nothing for one of them."""
    data = find_data(settings)
    for name in settings.stage_names:
        data.check(name, settings.stage(name))
    return data


def _trained(runs: Sequence[TrainResult]) -> Trained:
    """The last stage's weights, and how long all took."""
    if runs[-1].interrupted:
        return Trained(runs[-1].weights, {}, interrupted=True)
    return Trained(runs[-1].weights, {**training_figures(runs[-1]), "seconds": sum(run.seconds for run in runs)})
