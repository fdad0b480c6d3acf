"""The settings of the hand prior's run: `handkit pretrain hand-prior`, I2L-MeshNet's training (Moon & Lee, ECCV 2020).

Published (supplement of binocular transfer) are encoder, crops of 256 px in [0, 1], the loss, batch, Adam's rate, its
falls and the epochs on FreiHAND; which augmentations the prior saw is not. Those here are of the kinds that
I2L-MeshNet's own training has (turns, scales, colours), their amounts chosen.
"""

from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from handkit.errors import HandkitError
from handkit.methods.crop_recipe import CropDataRecipe
from handkit.methods.s2hand_recipe import CommonTrainRecipe
from handkit.methods.seqhand_recipe import Weight
from handkit.nets.lixel import DEPTH_LIXELS
from handkit.recipe import Recipe
from handkit.train import TrainRecipe


class LixelNetworkRecipe(Recipe):
    """Which network, on square crops of `size` px; `backbone_weights` is a file of torchvision's, or off.

    `features`, `depth` (lixels) and `context` as `handkit.nets.lixel.LixelNetwork` has them.
    """

    backbone: Literal["resnet50", "regnet_x_400mf", "plain", "plain-slim"] = "resnet50"
    size: Annotated[int, Field(ge=32, le=512, multiple_of=32)] = 256
    features: Annotated[int, Field(ge=1, le=1024)] = 256
    depth: Annotated[int, Field(ge=2, le=256)] = DEPTH_LIXELS
    context: Annotated[int, Field(ge=0, le=8)] = 0
    backbone_weights: str | None = None


class LossRecipe(Recipe):
    """Weights of the terms on lixels, 64 of which are a crop's width and the range of depth; one of 0 is left out."""

    vertices: Weight = 1.0
    joints: Weight = 1.0
    normals: Weight = 0.1
    edges: Weight = 1.0

    @model_validator(mode="after")
    def _teaches(self) -> "LossRecipe":
        if not (self.vertices or self.joints):
            raise ValueError("vertices or joints should weigh more than 0: nothing else says where a hand is")
        return self


class LearningRecipe(Recipe):
    """For how long, on how many hands a step, by which rate.

    `epochs` over the data, or so many `steps`. With train.schedule "milestones" the rate is multiplied by train.factor
    after each of the epochs `drops`, or with `steps` after the same shares of them. After `norm_share` of the steps
    normalisation layers keep their statistics.
    """

    epochs: Annotated[int, Field(ge=1)] = 25
    drops: tuple[Annotated[int, Field(ge=1)], ...] = (17, 21)
    steps: Annotated[int, Field(ge=1)] | None = None
    batch: Annotated[int, Field(ge=1)] = 32
    lr: Annotated[float, Field(gt=0)] = 1e-5
    norm_share: Annotated[float, Field(ge=0, le=1)] = 1.0


class HandPriorRecipe(Recipe):
    """A run of `handkit pretrain hand-prior`."""

    hand: str = "open"
    network: LixelNetworkRecipe = LixelNetworkRecipe()
    data: CropDataRecipe = CropDataRecipe()
    loss: LossRecipe = LossRecipe()
    learning: LearningRecipe = LearningRecipe()
    train: CommonTrainRecipe = CommonTrainRecipe(optimizer="adam", schedule="milestones")


def learning_steps(learning: LearningRecipe, *, samples: int) -> tuple[int, tuple[int, ...]]:
    """How many steps an epoch of so many samples makes of it, and after which of them the rate falls.

    Raises HandkitError for falls that are not in order within the epochs.
    """
    drops = learning.drops
    if any(before >= after for before, after in pairwise((0, *drops, learning.epochs))):
        raise HandkitError(
            f"the rate cannot fall after epochs {', '.join(map(str, drops))} of {learning.epochs}",
            "set learning.drops to rising numbers below learning.epochs",
        )
    steps = learning.steps or learning.epochs * max(1, -(-samples // learning.batch))
    falls = {round(steps * drop / learning.epochs) for drop in drops}
    return steps, tuple(sorted(fall for fall in falls if 0 < fall < steps))


def prior_training(common: CommonTrainRecipe, learning: LearningRecipe, *, samples: int) -> TrainRecipe:
    """The training's settings over a data set of so many hands."""
    steps, falls = learning_steps(learning, samples=samples)
    changes: dict[str, Any] = {
        "steps": steps,
        "lr": learning.lr,
        "milestones": falls if common.schedule == "milestones" else (),
        "norm_rests_from": None if learning.norm_share == 1 else round(steps * learning.norm_share),
    }
    return TrainRecipe.model_validate({**common.model_dump(), **changes})
