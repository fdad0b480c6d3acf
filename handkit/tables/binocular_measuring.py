"""What a row's weights are worth on the held-out pairs, which all rows see alike: the same crops, the same keypoints.

Means over pairs of what is measured of each, NaN left out, and medians; `behind` is the share of hands most of which
have no positive disparity: their points are taken as 5 m away.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from handkit.data.sample import float_images
from handkit.data.staged_batches import Batch
from handkit.gather.options import hash_of
from handkit.geometry.disparity import is_measurable
from handkit.hand.mesh_joints import joints_of_mesh
from handkit.inference.load import pick_device
from handkit.methods.binocular_measures import measure_agreement, measure_truth, true_pair
from handkit.methods.binocular_views import place_pairs
from handkit.metrics import pa_mpjpe_mm
from handkit.nets.lixel import LixelNetwork
from handkit.nets.lixel_system import load_lixel
from handkit.runs.binocular_pairs import BinocularPairs, find_pairs
from handkit.runs.result import RunOptions
from handkit.synth.card import read_dataset
from handkit.tables.binocular import BinocularTraining
from handkit.tables.binocular_recipe import MEDIANS
from handkit.tables.measuring import MEASURED, measured_before, remember
from handkit.tables.run import TableOptions
from handkit.tables.sets import OpenSet
from handkit.tables.training import Figures, RowTraining, Say
from handkit.train import Place


class HeldOutPairs:
    """The held-out pairs of a table, all of them, cut once for weights that see hands alike.

    Their crops and keypoints are those of seed 0, whatever seed a row learned with. Methods are as `run_table` takes
    them, of a training that is prepared.
    """

    def __init__(self, training: BinocularTraining) -> None:
        self._training = training
        self._out, self._how = Path(), TableOptions().how
        self._cut: dict[tuple[Any, ...], BinocularPairs] = {}

    def open_sets(self, out: Path, training: RowTraining[Any], options: TableOptions, say: Say) -> list[OpenSet]:
        """The table's one set."""
        self._out, self._how = out, options.how
        pairs = self._pairs(self._training.prior)
        words = f"{len(pairs.chosen_by)} of {pairs.source.count} pairs, {pairs.source.words}"
        say(f"set {self._training.table.sets[0].name}: {words}")
        return [OpenSet(self._training.table.sets[0], None, _key(pairs), words)]

    def measure(
        self, weights: Path, sets: Sequence[OpenSet], out: Path, training: RowTraining[Any], how: RunOptions
    ) -> dict[str, Figures]:
        """As `handkit.tables.measuring.measure`: kept in `out`/measured.json."""
        path, (one,) = out / MEASURED, sets
        name, kept = one.recipe.name, measured_before(path, weights, training)
        if kept["sets"].get(name, {}).get("key") != one.key:
            place = Place(device=torch.device(pick_device(how["device"])))
            figures = measure_pairs(load_lixel(weights)[0], self._pairs(weights), place)
            kept["sets"][name] = {"key": one.key, "figures": figures}
            remember(path, kept)
        return {"network": {"params_m": kept["params_m"]}, name: kept["sets"][name]["figures"]}

    def _pairs(self, weights: Path) -> BinocularPairs:
        info = load_lixel(weights)[1]
        sees = tuple(info.data.get(name) for name in ("hand", "size", "box_scale"))
        if sees not in self._cut:
            settings = self._training.settings(seed=0)
            data = settings.data.model_copy(update={"validation_pairs": sys.maxsize})
            settings = settings.model_copy(update={"data": data})
            self._cut[sees] = find_pairs(self._out, settings, info, **self._how)
        return self._cut[sees]


def _key(pairs: BinocularPairs) -> str:
    """Changes with what is measured."""
    settings = pairs.settings
    shards = settings.data.shards
    card = None if shards is None else read_dataset(Path(shards))
    data = settings.data.model_dump(mode="json", exclude={"epoch", "workers", "keep_mib"})
    return hash_of(pairs.source.to_json(), card, data, settings.forms.silhouette_px)


def measure_pairs(network: LixelNetwork, pairs: BinocularPairs, place: Place) -> Figures:
    """Of all pairs that are chosen by; what is defined for none of them is left out."""
    network = network.to(place.device).eval()
    parts = []
    for batch in pairs.batches(place):
        with torch.inference_mode():
            points = network(float_images(batch["image"])).points
        parts.append({name: value.cpu().numpy() for name, value in _measure(points, batch, pairs).items()})
    each = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    known = {name: values[~np.isnan(values)] for name, values in each.items()}
    known = {name: values for name, values in known.items() if len(values)}
    medians = {f"median_{name}": float(np.median(known[name])) for name in MEDIANS if name in known}
    count = float(max(map(len, each.values())))
    return {**{name: float(values.mean()) for name, values in known.items()}, **medians, "count": count}


def _measure(points: Tensor, batch: Batch, pairs: BinocularPairs) -> dict[str, Tensor]:
    """Of each pair."""
    hand, true = pairs.hand, true_pair(batch)
    pair = place_pairs(points.double(), batch, size=pairs.size)
    joints = joints_of_mesh(pair.found.right, hand)
    return {
        **measure_truth(pair, batch, hand),
        "pa_mpjpe_mm": pa_mpjpe_mm(joints, true.joints, valid=true.joints_known),
        **measure_agreement(pair, batch, hand, pairs.settings.forms, size=pairs.size),
        "behind": (~is_measurable(pair.found)).double(),
    }
