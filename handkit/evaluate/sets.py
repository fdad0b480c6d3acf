"""Data sets in an `evaluate` run: what the options say of one, its truth, and methods run over it."""

import json
from collections import Counter
from pathlib import Path
from typing import Any, Final

from handkit.checkpoint import read_checkpoint
from handkit.data.annotations import AnnotatedDataset
from handkit.data.hands import HandSet
from handkit.data.registry import build_dataset
from handkit.errors import HandkitError
from handkit.evaluate.options import EvaluateOptions
from handkit.evaluate.predict import NETWORKS, predict
from handkit.evaluate.protocols import Protocol
from handkit.inference.load import find_checkpoint

PREDICTIONS: Final = "predictions"


def open_dataset(name: str, root: Path, protocol: Protocol, options: EvaluateOptions) -> AnnotatedDataset:
    """The data set of the options; STB's joint 0 as the protocol compares it."""
    known: dict[str, Any] = {}
    if name == "stb" and protocol.root_joint is not None:
        known["root_joint"] = protocol.root_joint if protocol.root_joint.startswith("wrist") else "palm"
    known |= {key: option_value(text) for key, text in options.data_options}
    return build_dataset(name, root, options.split, **known)


def option_value(text: str) -> Any:
    """A number, true, false, null or list as JSON writes it; anything else is text."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def truth_of(dataset: AnnotatedDataset, options: EvaluateOptions, *, needed: bool = True) -> HandSet | None:
    """What a data set can be scored with; None where it has nothing and only a submission is asked for.

    Where no truth is `needed`, its names and sequences are enough. Raises HandkitError where a score is asked for and
    there is nothing to score with.
    """
    try:
        truth = dataset.truth()
    except HandkitError:
        if options.submission is not None or not needed:
            return None
        raise
    if needed and truth.joints is None and truth.vertices is None and truth.joints_2d is None:
        raise HandkitError(f"{truth.source} has no truth of its own", "give it by --gt, named by image")
    return truth


def predict_methods(
    dataset: AnnotatedDataset, out: Path, options: EvaluateOptions, *, show_progress: bool = False, force: bool = False
) -> dict[str, Path]:
    """The predictions file of each method and checkpoint, made where it is not there yet.

    A checkpoint that several methods take is called after both. Raises HandkitError where networks of several kinds are
    asked for and one of them has no checkpoint.
    """
    networks = [method for method in options.methods if method in NETWORKS]
    taken = {
        method: [one for one in options.checkpoints if _is_of(one[1], method, networks)]
        for method in (networks if options.checkpoints else ())
    }
    takers = Counter(name for own in taken.values() for name, _ in own)
    runs: dict[str, tuple[str, Path | None]] = {}
    for method in options.methods:
        if method not in taken:
            runs[method] = (method, None)
        elif not taken[method]:
            raise HandkitError(f"no --checkpoint is of --method {method}", "give one, or leave the method out")
        for name, path in taken.get(method, ()):
            runs[name if takers[name] == 1 else f"{name}-{method}"] = (method, path)
    return {
        name: predict(
            dataset,
            out / PREDICTIONS / name,
            method=method,
            checkpoint=checkpoint,
            hand=options.hand_model,
            device=options.device,
            show_progress=show_progress,
            force=force,
        )
        for name, (method, checkpoint) in runs.items()
    }


def _is_of(path: Path, method: str, networks: list[str]) -> bool:
    """Whether a checkpoint goes to this method: of methods of several kinds to those of the network that it holds."""
    if len({NETWORKS[name].network for name in networks}) == 1:
        return True
    try:
        info, _ = read_checkpoint(find_checkpoint(path, NETWORKS[method].weights))
    except HandkitError:  # a run's folder of another kind has other stages
        return False
    name = info.network.get("name")
    return NETWORKS[method].network == (name if name in ("s2hand", "handnet", "lixel") else "seqhand")
