"""The parametric hand: files, models of both sides, and the differentiable layer."""

from handkit.hand.layer import HandOutput, ManoLayer
from handkit.hand.model import HandModel, load_hand

__all__ = ["HandModel", "HandOutput", "ManoLayer", "load_hand"]
