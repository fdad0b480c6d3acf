"""The loop: steps, rows, validations and saves, until the end or an interrupt."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.fabric import Fabric

from handkit.checkpoint import CheckpointInfo, save_checkpoint, save_resume
from handkit.errors import HandkitError
from handkit.train.average import Average
from handkit.train.folder import RESUME, open_folder
from handkit.train.log import TrainLog
from handkit.train.method import Batch, Method
from handkit.train.modes import freeze_others, prepare_network, resting_modules, share_statistics
from handkit.train.optimizer import build_optimizer, depends_on_steps
from handkit.train.place import first_does, gather, launch, place_of
from handkit.train.recipe import TrainRecipe
from handkit.train.signals import sigint_noted
from handkit.train.state import random_state, seed_process, set_random_state
from handkit.train.stepping import Step, Stepper
from handkit.train.validation import validate
from handkit.train.view import Pace, TrainView


@dataclass(frozen=True)
class TrainResult:
    """How a run ended; `metrics` are those of the best validation, at `best_step`."""

    out: Path
    weights: Path
    step: int
    steps: int
    seconds: float
    best_step: int
    metrics: dict[str, float]

    @property
    def interrupted(self) -> bool:
        return self.step < self.steps


def train(
    method: Method,
    recipe: TrainRecipe,
    *,
    out: Path,
    resolved: dict[str, Any],
    device: str = "auto",
    force: bool = False,
    show_progress: bool = False,
    on_validated: Callable[[int], None] | None = None,
) -> TrainResult:
    """Train a method, or go on with the run that `out` holds; `resolved` is the whole recipe, as plain values.

    `on_validated` is called by the first process after every validation, with the step: for pictures of how it goes.
    Under `torchrun` all processes call it alike, and get the same result. SIGINT in any ends the run after the step at
    hand, saved. Raises HandkitError where `out` holds something else (unless `force`), and for a loss that is not
    finite.
    """
    fabric = launch(device, recipe.precision)
    state, changes = first_does(fabric, lambda: open_folder(out, method.name, resolved, force=force))
    run = _Run(method, recipe, out=out, resolved=resolved, fabric=fabric)
    if state is not None:
        run.restore(state)
    folder = out if fabric.is_global_zero else None
    log = TrainLog(folder, after=run.step, tensorboard=recipe.tensorboard)
    try:
        with (
            sigint_noted() as stopped,
            TrainView(recipe.steps, run.step, shown=show_progress and fabric.is_global_zero) as view,
        ):
            if changes:
                said = f"goes on from step {run.step} with {changes}{_jump(recipe, changes)}"
                log.note(run.step, said)
                view.note(said)
            run.go(log, view, stopped, on_validated)
    finally:
        log.close()
        method.network = run.network  # without the wrapper, which would keep the processes' group alive
    fabric.barrier()  # what the first process wrote is there for all
    return run.result()


def _jump(recipe: TrainRecipe, changes: str) -> str:
    if "train.steps" not in changes or not depends_on_steps(recipe):
        return ""
    return f"; the {recipe.schedule} schedule now ends at step {recipe.steps}, so the rate jumps"


class _Run:
    """A run at a step: everything that `resume.pt` keeps."""

    def __init__(
        self, method: Method, recipe: TrainRecipe, *, out: Path, resolved: dict[str, Any], fabric: Fabric
    ) -> None:
        self.method, self.recipe, self.out, self.resolved, self.fabric = method, recipe, out, resolved, fabric
        self.network = method.network = prepare_network(method.network, recipe, fabric)
        optimizer = build_optimizer(method.parameter_groups(), recipe)
        freeze_others(self.network, optimizer)
        wrapped, self.optimizer = fabric.setup(self.network, optimizer)
        self.average = Average(self.network, recipe.ema) if recipe.ema is not None else None
        if recipe.compile:
            self.network.compile()
        method.network = wrapped
        resting = resting_modules(self.network, norm=recipe.norm)
        self.stepper = Stepper(method, wrapped, self.optimizer, recipe, fabric, resting)
        self.step, self.seconds = 0, 0.0
        self.best: dict[str, Any] = {"step": 0, "metrics": {}}
        seed_process(recipe.seed, fabric.global_rank)

    @property
    def weights(self) -> Path:
        return self.out / f"{self.method.name}.safetensors"

    def restore(self, state: dict[str, Any]) -> None:
        try:
            self.network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.fabric.strategy.precision.load_state_dict(state["precision"])
            if self.average is not None:
                self.average.network.load_state_dict(state["average"])
            self.step, self.seconds, self.best = state["step"], state["seconds"], state["best"]
            self._restore_random(state["random"])
        except (KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
            raise HandkitError(
                f"{self.out / RESUME} is of another run ({str(error).splitlines()[0]})", "start over with --force"
            ) from error

    def _restore_random(self, states: list[dict[str, Any]]) -> None:
        if len(states) == self.fabric.world_size:
            set_random_state(states[self.fabric.global_rank], self.fabric.device)
        else:
            seed_process(self.recipe.seed, self.fabric.global_rank, self.step)

    def save(self) -> None:
        random = gather(self.fabric, random_state(self.fabric.device))
        if not self.fabric.is_global_zero:
            return
        state = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "precision": self.fabric.strategy.precision.state_dict(),
            "average": self.average.network.state_dict() if self.average is not None else None,
            "step": self.step,
            "seconds": self.seconds,
            "best": self.best,
            "random": random,
        }
        save_resume(self.out / RESUME, state)

    def result(self) -> TrainResult:
        return TrainResult(
            out=self.out,
            weights=self.weights,
            step=self.step,
            steps=self.recipe.steps,
            seconds=self.seconds,
            best_step=self.best["step"],
            metrics=self.best["metrics"],
        )

    def go(
        self, log: TrainLog, view: TrainView, stopped: threading.Event, on_validated: Callable[[int], None] | None
    ) -> None:
        """Steps until the end, or until `stopped` is set in a process."""
        recipe, pace = self.recipe, Pace()
        batches = self.method.batches(self.step * recipe.accumulate, place_of(self.fabric))
        saved, is_stopped = self.step, False
        while self.step < recipe.steps and not is_stopped:
            step = self._one_step(batches, pace, stopped)
            is_stopped, last = step.is_stopped, self.step == recipe.steps
            if self.step % recipe.log_every == 0 or last:
                row = step.row | pace.row()
                log.write("train", row)
                view.say(row)
            if self.step % recipe.validate_every == 0 or last:
                log.write("validation", {"step": self.step, **self._validate()})
                if on_validated is not None and self.fabric.is_global_zero:
                    on_validated(self.step)
            if self.step % recipe.save_every == 0 or last:
                self.save()
                saved = self.step
            view.advance()
        if saved != self.step:
            self.save()

    def _one_step(self, batches: Iterator[Batch], pace: Pace, stopped: threading.Event) -> Step:
        started = time.monotonic()
        try:
            step = self.stepper.step(batches, self.step, stopped)
        except HandkitError as error:
            raise HandkitError(error.what, f"{error.fix}; what was saved before is still in {self.out}") from error
        self.step += 1
        share_statistics(self.network, self.fabric)
        if self.average is not None:
            self.average.update(self.network, self.step)
        seconds = time.monotonic() - started
        self.seconds += seconds
        pace.add(images=step.images, samples=step.samples, seconds=seconds, waited=step.waited)
        return step

    def _validate(self) -> dict[str, float]:
        """The metrics; where they are the best so far, the weights are written."""
        network = self.network if self.average is None else self.average.network
        metrics = validate(self.method, network, self.fabric)
        chosen, before = metrics[self.method.selection], self.best["metrics"].get(self.method.selection, math.nan)
        if chosen < before or math.isnan(before):
            self.best = {"step": self.step, "metrics": metrics}
            if self.fabric.is_global_zero:
                described, learned_from = self.method.describe()
                info = CheckpointInfo(self.method.name, described, self.resolved, self.step, metrics, learned_from)
                save_checkpoint(self.weights, network, info, half=self.recipe.half_weights)
        return metrics
