"""One step of the optimiser, the same on every process."""

import math
import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from lightning.fabric import Fabric
from lightning.fabric.wrappers import _FabricModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from handkit.errors import HandkitError
from handkit.train.method import Batch, Method
from handkit.train.optimizer import learning_rate
from handkit.train.place import add_up, gather
from handkit.train.recipe import TrainRecipe
from handkit.train.state import generators_kept

_LOWER = "lower train.lr or set train.clip_norm"


class Step(NamedTuple):
    """What a step came to, over all processes: the log's row, counts, mean seconds waited for data."""

    row: dict[str, float]
    samples: float
    images: float
    waited: float
    is_stopped: bool


class _Pass(NamedTuple):
    """One batch of a step in this process."""

    terms: dict[str, Tensor]
    keys: list[str]
    samples: int
    images: int
    waited: float


class Stepper:
    """Steps of a method; modules in `resting` stay in evaluation mode."""

    def __init__(
        self,
        method: Method,
        wrapped: _FabricModule,
        optimizer: Any,
        recipe: TrainRecipe,
        fabric: Fabric,
        resting: list[nn.Module],
    ) -> None:
        self.method, self.wrapped, self.optimizer = method, wrapped, optimizer
        self.recipe, self.fabric, self.resting = recipe, fabric, resting
        self.norms = [module for module in wrapped.modules() if isinstance(module, _NormBase)]
        self.base_lr = [group["lr"] for group in optimizer.param_groups]

    def step(self, batches: Iterator[Batch], done: int, stopped: threading.Event) -> Step:
        """The step after `done` ones. Raises HandkitError, on every process, where a loss or gradient is not finite."""
        recipe = self.recipe
        self.wrapped.train()
        norms_rest = recipe.norm_rests_from is not None and done >= recipe.norm_rests_from
        for module in (*self.resting, *(self.norms if norms_rest else ())):
            module.eval()
        share = learning_rate(done, recipe)
        for group, lr in zip(self.optimizer.param_groups, self.base_lr, strict=True):
            group["lr"] = share * lr
        passes = [self._pass(batches, is_last=part + 1 == recipe.accumulate) for part in range(recipe.accumulate)]
        limit = math.inf if recipe.clip_norm is None else recipe.clip_norm
        norm = self.fabric.clip_gradients(self.wrapped, self.optimizer, max_norm=limit, error_if_nonfinite=False)
        step = self._together(passes, torch.as_tensor(norm), done + 1, stopped)
        self._check(step, passes)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return step._replace(row=step.row | {"lr": share * self.base_lr[0]})

    def _pass(self, batches: Iterator[Batch], *, is_last: bool) -> _Pass:
        """Forward and backward of a batch; the last one of a step joins the gradients."""
        started = time.monotonic()
        with generators_kept():
            batch = self.fabric.to_device(next(batches))
        waited = time.monotonic() - started
        with self.fabric.no_backward_sync(self.wrapped, enabled=not is_last):
            losses, _ = self.method.step(batch)
            self.fabric.backward(torch.stack(list(losses.values())).sum() / self.recipe.accumulate)
        terms = {name: value.detach() for name, value in losses.items()}
        keys = batch.get("key") if isinstance(batch, dict) else None
        return _Pass(terms, [str(key) for key in keys or ()], _samples(batch), _images(batch), waited)

    def _together(self, passes: list[_Pass], norm: Tensor, number: int, stopped: threading.Event) -> Step:
        """The means and sums over all processes, in one exchange and one wait for the device."""
        names = list(passes[0].terms)
        terms = [torch.stack([part.terms[name].double() for part in passes]).mean() for name in names]
        own = [sum(part.samples for part in passes), sum(part.images for part in passes)]
        counts = torch.tensor([*own, sum(part.waited for part in passes), stopped.is_set()], dtype=torch.float64)
        vector = torch.cat([torch.stack([*terms, norm.double()]), counts.to(norm.device)])
        values = add_up(self.fabric, vector).tolist()
        means = [value / self.fabric.world_size for value in values]
        row = dict(zip(names, means, strict=False))
        row = {"step": number, "loss": sum(row.values()), **row, "gradient_norm": means[len(names)]}
        samples, images, _, stops = values[-4:]
        return Step(row, samples, images, means[-2], stops > 0)

    def _check(self, step: Step, passes: list[_Pass]) -> None:
        number = step.row["step"]
        if not math.isfinite(step.row["loss"]):
            told = gather(self.fabric, _not_finite(passes, f"step {number}"))
            what = next((text for text in told if text), f"the loss of step {number} is not finite")
            raise HandkitError(what, _LOWER)
        # What scaling to fp16 makes too large is stepped over, and the scale lowered.
        if self.recipe.precision != "16-mixed" and not math.isfinite(step.row["gradient_norm"]):
            raise HandkitError(f"the gradient of step {number} is not finite", _LOWER)
        if self.fabric.world_size > 1:
            self._check_all_learn()

    def _check_all_learn(self) -> None:
        # Else the next forward of torch's DistributedDataParallel fails, with less to go by.
        for name, parameter in self.wrapped.module.named_parameters():
            if parameter.requires_grad and parameter.grad is None:
                raise HandkitError(f"the loss does not depend on {name}", "leave it out of the parameter groups")


def _not_finite(passes: list[_Pass], where: str) -> str:
    """What is wrong in this process, if anything."""
    for part in passes:
        for name, value in part.terms.items():
            if not math.isfinite(float(value)):
                which = f" (samples {', '.join(part.keys)})" if part.keys else ""
                return f"the loss term {name} is {float(value)} at {where}{which}"
    return ""


def _samples(batch: Batch) -> int:
    """The samples of a batch: the leading dimension of its first tensor."""
    if isinstance(batch, Tensor):
        return len(batch) if batch.ndim else 0
    parts = batch.values() if isinstance(batch, dict) else batch if isinstance(batch, (tuple, list)) else ()
    return next((count for part in parts if (count := _samples(part))), 0)


def _images(batch: Batch) -> int:
    """The pictures of a batch's "image" [..., 3, H, W]; 0 without one."""
    image = batch.get("image") if isinstance(batch, dict) else None
    return math.prod(image.shape[:-3]) if isinstance(image, Tensor) and image.ndim >= 4 else 0
