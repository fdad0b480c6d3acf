"""What is known of any trained network that sees hands: its checkpoint, and how it is shown them."""

from typing import Final

import torch

from handkit.checkpoint import CheckpointInfo
from handkit.detect.crop import CROP_SCALE
from handkit.errors import HandkitError
from handkit.hand.model import HandModel, load_hand

_TRAINING: Final = "`handkit pretrain`, `handkit finetune` or `handkit selfsup`"


class TrainedPredictor:
    """Looks are to be squares of `box_scale` times the hand's longer side at `size` px.

    `hand` is the right hand that the network was trained with; `sees` says of what it makes its hands, where there is a
    choice.
    """

    sees: str = ""

    def __init__(self, info: CheckpointInfo, device: str | torch.device) -> None:
        self.info, self.size, self.box_scale = info, crop_size(info), box_scale(info)
        self.hand: HandModel = load_hand(str(info.data.get("hand", "open")), "right")
        self.device = torch.device(device)


def box_scale(info: CheckpointInfo) -> float:
    """The side of the squares that a network was trained on over the hand's longer side; SeqHAND's 2.2 if not said."""
    return float(info.data.get("box_scale", CROP_SCALE))


def crop_size(info: CheckpointInfo) -> int:
    """The side in pixels of the pictures that a network was trained on. HandkitError where its checkpoint is silent."""
    network = info.recipe.get("network")
    size = info.data.get("size", network.get("size") if isinstance(network, dict) else None)
    if not isinstance(size, int) or size < 1:
        what = f"the checkpoint of {info.method} does not say on which pictures it was trained"
        raise HandkitError(what, f"give a checkpoint of {_TRAINING}")
    return size
