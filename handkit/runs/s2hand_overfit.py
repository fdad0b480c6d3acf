"""Short trainings of S2HAND on a few hands, for the search of loss weights."""

import copy
import math
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from handkit.data.crops import HandCrops
from handkit.data.sample import float_images
from handkit.data.staged_batches import Batch
from handkit.data.still_batches import fixed_stills
from handkit.data.window_batches import fixed_windows
from handkit.errors import HandkitError
from handkit.geometry.procrustes import align
from handkit.hand.model import HandModel
from handkit.methods.s2hand import S2HandMethod
from handkit.methods.s2hand_loss import S2HandLoss
from handkit.methods.s2hand_recipe import S2HandRecipe, term_weights
from handkit.metrics import point_auc
from handkit.nets.s2hand_system import S2HandSystem
from handkit.runs.s2hand_data import GatheredData, HeldOutHands
from handkit.runs.s2hand_search_plan import Outcome, Weights
from handkit.train import Place, TrainRecipe, seed_all
from handkit.train.modes import freeze_others, prepare_network, resting_modules
from handkit.train.optimizer import build_optimizer
from handkit.train.place import place_of
from handkit.train.stepping import Stepper

_TRUTH, _DETECTED = "joints_3d_pa_mm", "projected_px"
_AUC_MM: Final = np.linspace(0, 50, 101)


class Samples:
    """Centred crops of some hands, made once; in batches, as equal in size as may be, in another order every epoch.

    Of video M windows of n frames: `count` and `batch` count frames. Raises HandkitError for fewer hands than `count`.
    """

    def __init__(self, data: GatheredData, settings: S2HandRecipe, *, count: int, windows: bool) -> None:
        recipe = settings.data
        frames = recipe.frames if windows else 1
        wanted, size, scale = max(1, count // frames), settings.network.size, recipe.crop.box_scale
        if windows:
            made = fixed_windows(
                data.learned,
                count=wanted,
                frames=frames,
                interval=recipe.interval,
                size=size,
                batch=wanted,
                box_scale=scale,
            )
        else:
            crops = HandCrops(data.learned, size=size, box_scale=scale)
            made = fixed_stills([crops], count=wanted, batch=wanted)
        self.whole: Batch = next(made, {"image": ()})
        self.seed, self.frames = settings.train.seed, frames
        self.parts = math.ceil(wanted / max(1, settings.search.batch // frames))
        found = len(self.whole["image"])
        if found < wanted:
            what = f"windows of {frames} frames" if windows else "hands"
            raise HandkitError(
                f"the search takes {wanted} {what}, and there are {found} to learn from",
                "give more --data, or lower --set search.samples",
            )

    @property
    def has_truth(self) -> bool:
        return bool(self.whole["joints_3d_valid"].any())

    def to(self, fabric: Fabric) -> "Samples":
        self.whole = fabric.to_device(self.whole)
        return self

    def batches(self, start: int, place: Place) -> Iterator[Batch]:
        """Without end; this process's alone, as only one searches."""
        del place
        count, number = len(self.whole["image"]), start
        while True:
            epoch, part = divmod(number, self.parts)
            order = np.random.default_rng((self.seed, epoch)).permutation(count)
            yield self._rows(np.array_split(order, self.parts)[part])
            number += 1

    def fixed(self) -> Iterator[Batch]:
        """All of them once."""
        for rows in np.array_split(np.arange(len(self.whole["image"])), self.parts):
            yield self._rows(rows)

    def _rows(self, rows: np.ndarray) -> Batch:
        chosen = rows.tolist()
        return {
            key: value[chosen] if isinstance(value, Tensor) else [value[row] for row in chosen]
            for key, value in self.whole.items()
        }


@dataclass(eq=False)
class Overfit:
    """Trains one network from one beginning with any weights, on the same samples in the same order.

    `bases` are the terms that are searched and their weights of factor 1, `unit` what a weight of 1 stands for.
    Measured are hands with the normalisation layers' statistics of all samples, taken anew after the last step: the
    running ones of so few steps are not yet those of the network.
    """

    settings: S2HandRecipe
    stage: str
    hand: HandModel
    landmarks: str
    start: S2HandSystem
    held_out: HeldOutHands
    fabric: Fabric
    stopped: threading.Event
    bases: Weights
    unit: float

    @property
    def frames(self) -> int:
        return self.settings.data.frames if self.stage == "video" else 1

    def recipe(self, samples: Samples) -> TrainRecipe:
        """The supplement's: Adam of one rate, for `epochs`."""
        search = self.settings.search
        changes: dict[str, Any] = {
            "steps": search.epochs * samples.parts,
            "optimizer": "adam",
            "betas": (0.9, 0.999),
            "lr": search.lr,
            "schedule": "constant",
            "weight_decay": 0.0,
            "warmup_steps": 0,
            "accumulate": 1,
            "ema": None,
            "norm": "train",
        }
        return TrainRecipe.model_validate({**self.settings.train.model_dump(), **changes})

    def factors(self, weights: Weights) -> dict[str, float]:
        """Weights as the recipe's `loss.factors`; terms that are not among them are off."""
        off = dict.fromkeys(term_weights(self.settings.loss, self.frames), 0.0)
        return off | {term: float(f"{value * self.unit / self.bases[term]:.6g}") for term, value in weights.items()}

    def train(self, weights: Weights, samples: Samples) -> S2HandSystem:
        """The network after the last step. Raises HandkitError for a loss that is not finite, KeyboardInterrupt."""
        recipe, fabric = self.recipe(samples), self.fabric
        seed_all(recipe.seed)
        network = copy.deepcopy(self.start)
        assert network.hand is not None
        learns_keypoints = any(weights.get(term, 0) > 0 for term in ("estimated", "consistency"))
        learning = S2HandSystem(network.hand, network.keypoints if learns_keypoints else None)
        prepare_network(learning, recipe, fabric)
        method = self._method(learning, self.factors(weights), samples)
        optimizer = build_optimizer(method.parameter_groups(), recipe)
        freeze_others(learning, optimizer)
        wrapped, optimizer = fabric.setup(learning, optimizer)
        method.network = wrapped
        stepper = Stepper(method, wrapped, optimizer, recipe, fabric, resting_modules(learning, norm=recipe.norm))
        batches = method.batches(0, place_of(fabric))
        for done in range(recipe.steps):
            if stepper.step(batches, done, self.stopped).is_stopped:
                raise KeyboardInterrupt
        return network.to(fabric.device)

    @torch.no_grad()
    def measure(self, network: S2HandSystem, samples: Samples, *, on_held_out: bool) -> Outcome:
        """Every searched term without its weight, and metrics, of the samples or of held-out hands (no terms)."""
        restate_norm(network, (float_images(batch["image"]).flatten(0, 1) for batch in samples.fixed()))
        ones = dict.fromkeys(term_weights(self.settings.loss, self.frames), 0.0) | dict.fromkeys(self.bases, 1.0)
        method = self._method(network, ones, samples)
        batches = self.held_out.batches(place_of(self.fabric)) if on_held_out else samples.fixed()
        sums: dict[str, float] = {}
        metrics: dict[str, list[Tensor]] = {}
        count = 0
        for batch in map(self.fabric.to_device, batches):
            found = method.estimate(batch, want_picture=method.objective.needs_picture and not on_held_out)
            assert found.out is not None
            if not on_held_out:
                rows = len(batch["image"])
                count += rows
                for term, value in method.objective(found, batch).items():
                    sums[term] = sums.get(term, 0.0) + rows * float(value)
            known = {**method.measure(found, batch), "auc_j": _auc(found.out.joints, batch)}
            for name, value in known.items():
                metrics.setdefault(name, []).append(value.double().flatten().cpu())
        means = {name: float(torch.cat(values).nanmean()) for name, values in metrics.items()}
        means = {name: value for name, value in means.items() if math.isfinite(value)}
        losses = {term: total / (count * self.bases[term]) for term, total in sums.items()}
        chosen = means.get(_TRUTH, means.get(_DETECTED, math.inf))
        return Outcome(losses, means, chosen)

    def _method(self, network: S2HandSystem, factors: dict[str, float], samples: Samples) -> S2HandMethod:
        settings = self.settings
        objective = S2HandLoss(
            settings.loss.model_copy(update={"factors": factors}),
            self.hand,
            stage=self.stage,
            frames=self.frames,
            supervision=settings.data.supervision,
            landmarks=self.landmarks,
            has_keypoints=network.keypoints is not None,
            without=settings.stage(self.stage).without,
        )
        return S2HandMethod(
            network,
            self.hand,
            stage=self.stage,
            objective=objective,
            render=settings.loss.render,
            source=samples,
            held_out=self.held_out,
            learned_from={},
        )


def restate_norm(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Give batch normalisation the mean statistics of these images; the network is in evaluation mode after."""
    layers = [layer for layer in network.modules() if isinstance(layer, _BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    network.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the mean over all batches
        layer.train()
    for images in batches:
        network(images)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
        layer.eval()


def _auc(joints: Tensor, batch: Batch) -> Tensor:
    """AUC of the joints after the best similarity, 0 to 50 mm, per hand; NaN without a truth."""
    valid = batch["joints_3d_valid"]
    target = batch["joints_3d"].double()
    aligned = align(joints.double(), target, reflection=False, weights=valid.double())
    share = torch.from_numpy(point_auc(1000 * (aligned - target).norm(dim=-1).cpu().numpy(), _AUC_MM))
    return torch.where(valid.cpu(), share, torch.nan).nanmean(-1)
