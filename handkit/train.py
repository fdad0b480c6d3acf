"""The one training loop.

A method says which parameters learn, what a batch costs and what is measured; the loop owns the device, the precision,
accumulation, clipping, the schedule, logging, validation, checkpoints, and going on where a run was stopped. A run's
folder holds `recipe.json`, the log (see `TrainLog`), `<method>.safetensors` (best validation so far) and `resume.pt`.
"""

import json
import math
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import numpy as np
import torch
from lightning.fabric import Fabric
from pydantic import Field
from torch import Tensor, nn

from handkit.checkpoint import CheckpointInfo, load_resume, save_checkpoint, save_resume
from handkit.errors import HandkitError
from handkit.files import atomic_path
from handkit.recipe import Recipe
from handkit.train_log import TrainLog, TrainView

Batch = Any  # what the method's `batches` gives: tensors, or tuples and dicts of them


class TrainRecipe(Recipe):
    """How any method is trained: AdamW's rates; `final_lr`, the cosine's end, is a share of `lr`."""

    steps: Annotated[int, Field(ge=1)]
    seed: Annotated[int, Field(ge=0)] = 0
    lr: Annotated[float, Field(gt=0)] = 1e-3
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    final_lr: Annotated[float, Field(ge=0, le=1)] = 0.0
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    clip_norm: Annotated[float | None, Field(gt=0)] = None
    accumulate: Annotated[int, Field(ge=1)] = 1
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    log_every: Annotated[int, Field(ge=1)] = 50
    validate_every: Annotated[int, Field(ge=1)] = 500
    save_every: Annotated[int, Field(ge=1)] = 500
    half_weights: bool = False


class Method(Protocol):
    """What is trained.

    `network` is replaced by the loop's own wrapper of it, and is to be called by the attribute. `selection` is the
    validation metric whose least mean marks the best weights.
    """

    name: str
    selection: str
    network: nn.Module

    def parameter_groups(self) -> list[dict[str, Any]]:
        """AdamW's groups; a group's own `lr` and `weight_decay` go before the recipe's."""

    def batches(self, start: int) -> Iterator[Batch]:
        """Batches without end, from number `start` on; a number always gives the same batch."""

    def step(self, batch: Batch) -> tuple[dict[str, Tensor], Any]:
        """Loss terms with their weights in, whose sum is the loss, and the predictions."""

    def validation_batches(self) -> Iterable[Batch]:
        """The batches of a validation, always the same."""

    def validate(self, batch: Batch) -> dict[str, Tensor]:
        """Metrics, one value per sample, NaN where undefined; a name ends in its unit."""

    def describe(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What rebuilds the network, and what it learns from (`CheckpointInfo.network`, `.data`)."""


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


def seed_all(seed: int) -> None:
    """Seed what networks are initialised from; to be called before a method is built."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - libraries draw from it


def train(
    method: Method,
    recipe: TrainRecipe,
    *,
    out: Path,
    resolved: dict[str, Any],
    device: str = "auto",
    force: bool = False,
    show_progress: bool = False,
) -> TrainResult:
    """Train a method, or go on with the run that `out` holds; `resolved` is the whole recipe, as plain values.

    SIGINT ends the run after the step at hand, saved. Raises HandkitError where `out` holds something else (unless
    `force`), and for a loss that is not finite.
    """
    resume = _open_folder(out, method.name, resolved, force=force)
    run = _Run(method, recipe, out, resolved, _fabric(device, recipe))
    if resume is not None:
        run.restore(resume)
    with _sigint_noted() as stopped, TrainView(recipe.steps, run.step, shown=show_progress) as view:
        run.go(view, stopped)
    return run.result()


def _open_folder(out: Path, name: str, resolved: dict[str, Any], *, force: bool) -> dict[str, Any] | None:
    """The state to go on from, or None for a new run, whose recipe is then written."""
    kept, resume = out / "recipe.json", out / "resume.pt"
    if force:
        for path in (resume, *(out / log for log in ("log.jsonl", "train.csv", "validation.csv"))):
            path.unlink(missing_ok=True)
    elif kept.is_file() and json.loads(kept.read_text()) != resolved:
        raise HandkitError(f"{out} holds a run of another recipe", "give another --out, or --force to start over")
    elif not kept.is_file() and (out / f"{name}.safetensors").exists():
        raise HandkitError(
            f"{out} holds {name} weights of another run", "give another --out, or --force to replace them"
        )
    if resume.is_file():
        return load_resume(resume)
    with atomic_path(kept) as partial:
        partial.write_text(json.dumps(resolved, indent=2) + "\n")
    return None


def _fabric(device: str, recipe: TrainRecipe) -> Fabric:
    has_cuda = torch.cuda.is_available()
    if device == "cuda" and not has_cuda:
        raise HandkitError("there is no CUDA device", "use --device cpu")
    accelerator = "cuda" if has_cuda and device != "cpu" else "cpu"
    fabric = Fabric(accelerator=accelerator, devices=1, precision=recipe.precision)
    fabric.launch()
    return fabric


def learning_rate(step: int, recipe: TrainRecipe) -> float:
    """The share of a group's rate at a step counted from 0: linear warm-up, then the schedule."""
    if step < recipe.warmup_steps:
        return (step + 1) / recipe.warmup_steps
    if recipe.schedule == "constant":
        return 1.0
    done = (step - recipe.warmup_steps) / max(1, recipe.steps - recipe.warmup_steps)
    return recipe.final_lr + (1 - recipe.final_lr) * 0.5 * (1 + math.cos(math.pi * done))


class _Run:
    """A run at a step: everything that `resume.pt` keeps."""

    def __init__(
        self, method: Method, recipe: TrainRecipe, out: Path, resolved: dict[str, Any], fabric: Fabric
    ) -> None:
        self.method, self.recipe, self.out, self.resolved, self.fabric = method, recipe, out, resolved, fabric
        groups = [{"lr": recipe.lr, **group} for group in method.parameter_groups()]
        optimizer = torch.optim.AdamW(groups, weight_decay=recipe.weight_decay)
        self.base_lr = [group["lr"] for group in optimizer.param_groups]
        self.wrapped, self.optimizer = fabric.setup(method.network, optimizer)
        method.network = self.wrapped
        self.step, self.seconds = 0, 0.0
        self.best: dict[str, Any] = {"step": 0, "metrics": {}}
        self.random: dict[str, Any] | None = None

    @property
    def weights(self) -> Path:
        return self.out / f"{self.method.name}.safetensors"

    def restore(self, state: dict[str, Any]) -> None:
        try:
            self.method.network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.seconds, self.best = state["step"], state["seconds"], state["best"]
            self.random = state["random"]
        except (KeyError, RuntimeError, ValueError, TypeError) as error:
            raise HandkitError(
                f"{self.out / 'resume.pt'} is of another run ({str(error).splitlines()[0]})", "start over with --force"
            ) from error

    def save(self) -> None:
        state = {
            "network": self.method.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "best": self.best,
            "random": _random_state(),
        }
        save_resume(self.out / "resume.pt", state)

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

    def go(self, view: TrainView, stopped: threading.Event) -> None:
        """Steps until the end, or until `stopped` is set."""
        recipe, log = self.recipe, TrainLog(self.out, after=self.step)
        batches = self.method.batches(self.step * recipe.accumulate)
        if self.random is not None:
            _set_random_state(self.random)
        saved, clock, counted = self.step, time.monotonic(), 0
        while self.step < recipe.steps and not stopped.is_set():
            started = time.monotonic()
            row, samples = self._one_step(batches)
            self.seconds += time.monotonic() - started
            counted += samples
            last = self.step == recipe.steps
            if self.step % recipe.log_every == 0 or last:
                row["samples_per_s"] = counted / (time.monotonic() - clock)
                clock, counted = time.monotonic(), 0
                log.write("train", row)
                view.say(row)
            if self.step % recipe.validate_every == 0 or last:
                log.write("validation", {"step": self.step, **self._validation()})
            if self.step % recipe.save_every == 0 or last:
                self.save()
                saved = self.step
            view.advance()
        if saved != self.step:
            self.save()

    def _one_step(self, batches: Iterator[Batch]) -> tuple[dict[str, float], int]:
        """One step of the optimiser: its row of the log, and how many samples it took."""
        method, recipe = self.method, self.recipe
        method.network.train()
        share = learning_rate(self.step, recipe)
        for group, lr in zip(self.optimizer.param_groups, self.base_lr, strict=True):
            group["lr"] = share * lr
        terms: dict[str, float] = {}
        samples = 0
        for part in range(recipe.accumulate):
            batch = self.fabric.to_device(next(batches))
            with self.fabric.no_backward_sync(self.wrapped, enabled=part + 1 < recipe.accumulate):
                losses, _ = method.step(batch)
                self._check(losses, batch)
                self.fabric.backward(torch.stack(list(losses.values())).sum() / recipe.accumulate)
            for name, value in losses.items():
                terms[name] = terms.get(name, 0.0) + float(value.detach()) / recipe.accumulate
            samples += _count(batch)
        row = {"step": self.step + 1, "loss": sum(terms.values()), **terms, "lr": share * self.base_lr[0]}
        if recipe.clip_norm is not None:
            norm = self.fabric.clip_gradients(
                method.network, self.optimizer, max_norm=recipe.clip_norm, error_if_nonfinite=False
            )
            row["gradient_norm"] = math.nan if norm is None else float(norm)
            if recipe.precision != "16-mixed" and not math.isfinite(row["gradient_norm"]):
                raise HandkitError(f"the gradient of step {self.step + 1} is not finite", self._way_out())
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        return row, samples

    def _check(self, losses: Mapping[str, Tensor], batch: Batch) -> None:
        for name, value in losses.items():
            if not torch.isfinite(value).all():
                keys = batch.get("key") if isinstance(batch, dict) else None
                which = f" (samples {', '.join(map(str, keys))})" if keys else ""
                raise HandkitError(
                    f"the loss term {name} is {float(value.detach())} at step {self.step + 1}{which}", self._way_out()
                )

    def _way_out(self) -> str:
        return f"lower train.lr or set train.clip_norm; what was saved before is still in {self.out}"

    def _validation(self) -> dict[str, float]:
        """Mean and count of every metric; the best so far is written as the run's weights."""
        self.method.network.eval()
        values: dict[str, list[Tensor]] = {}
        with torch.no_grad():
            for batch in self.method.validation_batches():
                for name, value in self.method.validate(self.fabric.to_device(batch)).items():
                    values.setdefault(name, []).append(value.detach().double().cpu().flatten())
        joined = {name: torch.cat(parts) for name, parts in values.items()}
        metrics = {name: float(value.nanmean()) for name, value in joined.items()}
        metrics["samples"] = float(max((len(value) for value in joined.values()), default=0))
        chosen = metrics[self.method.selection]
        before = self.best["metrics"].get(self.method.selection, math.inf)
        if chosen < before or not self.best["metrics"]:
            self.best = {"step": self.step, "metrics": metrics}
            network, data = self.method.describe()
            info = CheckpointInfo(self.method.name, network, self.resolved, self.step, metrics, data)
            save_checkpoint(self.weights, self.method.network, info, half=self.recipe.half_weights)
        return metrics


def _count(batch: Batch) -> int:
    """The samples of a batch: the leading dimension of its first tensor."""
    if isinstance(batch, Tensor):
        return len(batch)
    parts = batch.values() if isinstance(batch, dict) else batch if isinstance(batch, (tuple, list)) else ()
    return next((count for part in parts if (count := _count(part))), 0)


def _random_state() -> dict[str, Any]:
    numpy_state: Any = np.random.get_state(legacy=True)  # noqa: NPY002
    name, keys, position, has_gauss, gauss = numpy_state
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [str(name), torch.from_numpy(keys.astype(np.int64)), int(position), int(has_gauss), float(gauss)],
    }


def _set_random_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002


@contextmanager
def _sigint_noted() -> Iterator[threading.Event]:
    """An event that the first SIGINT sets; the second one interrupts as usual."""
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: object) -> None:
        stopped.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGINT, before)
