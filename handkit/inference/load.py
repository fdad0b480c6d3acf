"""A checkpoint ready to look at hands, found where the user says or among the weights."""

import logging
from pathlib import Path
from typing import Final, NamedTuple

import torch

from handkit.checkpoint import find_weights
from handkit.errors import HandkitError
from handkit.inference.predictor import MAX_GAP_S, SequencePredictor
from handkit.inference.trained import TrainedPredictor
from handkit.nets import load_network

logger = logging.getLogger(__name__)

USUAL: Final = "seqhand-small.safetensors"


class Weights(NamedTuple):
    """Weights of one kind: their usual file, the command that trains them, and a run's folders that hold them.

    Without the usual file `or_else` will do.
    """

    usual: str
    train: str
    stages: tuple[str, ...] = ()
    or_else: str | None = None

    @property
    def how(self) -> str:
        """The way out where there are none."""
        return f"train them with `handkit {self.train} --out DIR` and give --checkpoint DIR"


S2HAND: Final = Weights("s2hand.safetensors", "selfsup s2hand", ("video", "images", "hand"))
KEYPOINTS: Final = Weights("s2hand.safetensors", "selfsup s2hand --stage keypoints", ("video", "images", "keypoints"))
HANDNET: Final = Weights(
    "handnet.safetensors",
    "pretrain handnet",
    ("segmentation", "finalize", "fusion", "keypoint", "image"),
    or_else="handnet-keypoints.safetensors",
)
HANDNET_STEREO: Final = Weights("handnet-stereo.safetensors", "finetune handnet-stereo", ("stereo",))
BINOCULAR: Final = Weights("binocular.safetensors", "selfsup binocular")
HAND_PRIOR: Final = Weights("hand-prior.safetensors", "pretrain hand-prior")


def find_checkpoint(path: Path | None = None, kind: Weights | None = None) -> Path:
    """The file of weights of a kind, `seqhand-small` unless told: `path`, else the usual one among the weights.

    Of a folder `path` it is the only file, or that of the first stage which a run in several left there. Raises
    HandkitError where there is none, or a folder has several.
    """
    kind = kind or Weights(USUAL, "pretrain seqhand")
    if path is None:
        try:
            return find_weights(kind.usual, or_else=kind.or_else)
        except HandkitError as error:
            raise HandkitError(error.what, kind.how) from error
    if not path.exists():
        raise HandkitError(f"{path} does not exist", f"check the path, or {kind.how}")
    if not path.is_dir():
        return path
    folders = [path, *(path / stage for stage in kind.stages)]
    found = next((files for folder in folders if (files := sorted(folder.glob("*.safetensors")))), [])
    if len(found) != 1:
        what = f"{path} holds {'no weights' if not found else ', '.join(file.name for file in found)}"
        raise HandkitError(what, f"name {'one' if found else 'a'} file, or {kind.how}")
    return found[0]


def load_predictor(path: Path, *, device: str = "cpu", max_gap_s: float = MAX_GAP_S) -> SequencePredictor:
    """The network of a checkpoint on a device: "cpu", "cuda", or "auto" for CUDA where there is one.

    Raises HandkitError for a file that is damaged or of another kind, and for CUDA where there is none.
    """
    network, info = load_network(path)
    return SequencePredictor(network, info, device=pick_device(device), max_gap_s=max_gap_s)


def pick_device(device: str) -> str:
    """ "cpu" or "cuda" of "cpu", "cuda" and "auto"; raises HandkitError for CUDA where there is none."""
    has_cuda = torch.cuda.is_available()
    if device == "cuda" and not has_cuda:
        raise HandkitError(
            "--device cuda: no CUDA device is available", "leave --device out, or install a CUDA build of torch"
        )
    return "cuda" if has_cuda and device != "cpu" else "cpu"


def words_of(predictor: TrainedPredictor, path: Path) -> str:
    """The network in the words of hands.npz: its name, its file, its training step, and of what it makes its hands."""
    sees = f", {predictor.sees}" if predictor.sees else ""
    return f"{predictor.info.network['name']} ({path.name}, step {predictor.info.step}{sees})"


def warn_of_other_hand(predictor: TrainedPredictor, path: Path, hand: str) -> None:
    """Log where the hands will be another model's than those the network was trained with."""
    trained = predictor.hand.name
    if trained != hand:
        logger.warning(
            "%s was trained with the hand %s: shapes of %s are others (--hand-model %s)", path, trained, hand, trained
        )
