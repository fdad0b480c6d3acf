"""A checkpoint ready to look at hands, found where the user says or among the weights."""

import logging
from pathlib import Path
from typing import Final

import torch

from handkit.checkpoint import find_weights
from handkit.errors import HandkitError
from handkit.inference.predictor import MAX_GAP_S, SequencePredictor
from handkit.nets import load_network

logger = logging.getLogger(__name__)

USUAL: Final = "seqhand-small.safetensors"
_TRAIN: Final = "train them with `handkit pretrain seqhand --out DIR`"


def find_checkpoint(path: Path | None = None) -> Path:
    """The file of weights: `path`, the only one in a run's folder `path`, else `seqhand-small` among the weights.

    Raises HandkitError where there is none, or a folder has several.
    """
    if path is None:
        try:
            return find_weights(USUAL)
        except HandkitError as error:
            raise HandkitError(error.what, f"{_TRAIN} and give --checkpoint DIR") from error
    if not path.exists():
        raise HandkitError(f"{path} does not exist", f"check the path, or {_TRAIN}")
    if not path.is_dir():
        return path
    found = sorted(path.glob("*.safetensors"))
    if len(found) != 1:
        what = f"{path} holds {'no weights' if not found else ', '.join(file.name for file in found)}"
        raise HandkitError(what, f"name one file, or {_TRAIN}" if found else f"name a file, or {_TRAIN}")
    return found[0]


def load_predictor(path: Path, *, device: str = "cpu", max_gap_s: float = MAX_GAP_S) -> SequencePredictor:
    """The network of a checkpoint on a device: "cpu", "cuda", or "auto" for CUDA where there is one.

    Raises HandkitError for a file that is damaged or of another kind, and for CUDA where there is none.
    """
    has_cuda = torch.cuda.is_available()
    if device == "cuda" and not has_cuda:
        raise HandkitError(
            "--device cuda: no CUDA device is available", "leave --device out, or install a CUDA build of torch"
        )
    network, info = load_network(path)
    return SequencePredictor(
        network, info, device="cuda" if has_cuda and device != "cpu" else "cpu", max_gap_s=max_gap_s
    )


def words_of(predictor: SequencePredictor, path: Path) -> str:
    """The network in the words of hands.npz: its name, its file and its training step."""
    return f"{predictor.info.network['name']} ({path.name}, step {predictor.info.step})"


def warn_of_other_hand(predictor: SequencePredictor, path: Path, hand: str) -> None:
    """Log where the hands will be another model's than those the network was trained with."""
    trained = predictor.hand.name
    if trained != hand:
        logger.warning(
            "%s was trained with the hand %s: shapes of %s are others (--hand-model %s)", path, trained, hand, trained
        )
