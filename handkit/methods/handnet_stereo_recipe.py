"""The settings of `handkit finetune handnet-stereo`: the two stages of RealisticHands' Fig. 5.

Published are the stages, what learns in each, epochs, optimiser, the rate and its fall, how many pairs there are and
that 30 of 100 are held out. Weights of Eq. 11, the frame it is taken in, batch and augmentation are chosen.
"""

from typing import Annotated, Any, Final, Literal, get_args

from pydantic import Field

from handkit.data.keypoint_noise import KeypointNoise
from handkit.errors import HandkitError
from handkit.hand.stereo import CameraFusion
from handkit.methods.handnet_recipe import LossRecipe
from handkit.methods.s2hand_recipe import CommonTrainRecipe
from handkit.methods.seqhand_recipe import Weight
from handkit.recipe import Recipe
from handkit.train import TrainRecipe

StageName = Literal["adaption", "stereo"]
STAGES: Final = get_args(StageName)
Part = Literal["adapted_head", "stereo", "keypoint_head", "fusion", "tail", "regressor"]
PAIRS: Final = 15_082
_SEES: Final = {"adapted_head": {"both", "image"}, "keypoint_head": {"both", "keypoints"}, "fusion": {"both"}}


class PairCropRecipe(Recipe):
    """How far crops are moved, turned, scaled and blurred, as in `handkit.methods.handnet_recipe.CropRecipe`.

    Their side over the hand's box is that of the network's own training.
    """

    reposition: Annotated[float, Field(ge=0, le=1)] = 0.5
    rotate_deg: Annotated[float, Field(ge=0, le=180)] = 30.0
    scale_jitter: Annotated[float, Field(ge=0, lt=1)] = 0.15
    blur: Annotated[float, Field(ge=0)] = 2.0


class PairDataRecipe(Recipe):
    """Pairs to learn from: a folder of `handkit generate stereo`; without one `pairs` of `recipe` are made first.

    The last share `held_out` of them is not learned from; `validation_pairs` of those choose the best weights. `epoch`
    is what counts as one (off: as many as are learned from). `noise` is what detected keypoints are off by (off: they
    are true), `missing` the share of views without any in training.
    """

    shards: str | None = None
    recipe: str = "stereo"
    pairs: Annotated[int, Field(ge=2)] = PAIRS
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.3
    validation_pairs: Annotated[int, Field(ge=1)] = 500
    epoch: Annotated[int | None, Field(ge=1)] = None
    workers: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    noise: KeypointNoise | None = KeypointNoise()
    missing: Annotated[float, Field(ge=0, le=1)] = 0.0
    crop: PairCropRecipe = PairCropRecipe()


class FusedLossRecipe(Recipe):
    """Eq. 11: lambda_1 and lambda_2, in units of 10 cm, of points about the wrist or in the right "camera"."""

    vertices: Weight = 1.0
    joints_3d: Weight = 1.0
    frame: Literal["wrist", "camera"] = "wrist"


class StereoStageRecipe(Recipe):
    """One stage: the parts that learn (the others stay as they are, bit for bit), and for how long.

    `batch` counts pairs. In the last `decay_epochs` of `epochs`, or the same share of the `steps`, the rate falls to
    nothing. After `norm_share` of the steps normalisation layers that learn keep their statistics.
    """

    learns: Annotated[tuple[Part, ...], Field(min_length=1)]
    epochs: Annotated[int, Field(ge=1)] = 1
    steps: Annotated[int, Field(ge=1)] | None = None
    decay_epochs: Annotated[int, Field(ge=0)] = 0
    batch: Annotated[int, Field(ge=1)] = 32
    lr: Annotated[float, Field(gt=0)] = 2e-4
    norm_share: Annotated[float, Field(ge=0, le=1)] = 1.0


class StereoStagesRecipe(Recipe):
    """The published stages: the image head is adapted to generated pictures, then the weights of Eq. 6 learn."""

    adaption: StereoStageRecipe = StereoStageRecipe(learns=("adapted_head",), epochs=2)
    stereo: StereoStageRecipe = StereoStageRecipe(learns=("stereo",), epochs=8, decay_epochs=4)


class HandNetStereoRecipe(Recipe):
    """A run of `handkit finetune handnet-stereo`; network, size of crops and hand are those of the weights it is given.

    `camera` is how Eq. 7 fuses cameras in training and in the choice of the best weights; both ways are measured.
    """

    camera: CameraFusion = "average"
    data: PairDataRecipe = PairDataRecipe()
    loss: LossRecipe = LossRecipe()
    fused_loss: FusedLossRecipe = FusedLossRecipe()
    stages: StereoStagesRecipe = StereoStagesRecipe()
    train: CommonTrainRecipe = CommonTrainRecipe(optimizer="adam", betas=(0.9, 0.99), schedule="trailing")

    def stage(self, name: str) -> StereoStageRecipe:
        found: StereoStageRecipe = getattr(self.stages, name)
        return found


def check_stage(name: str, stage: StereoStageRecipe, inputs: str) -> None:
    """Raise HandkitError unless what learns takes part, in this stage and in a network of such inputs."""
    if name == "adaption" and "stereo" in stage.learns:
        raise HandkitError("in stage adaption views are single: stereo learns nothing", "take it out of the stage")
    idle = [part for part in stage.learns if inputs not in _SEES.get(part, {inputs})]
    if idle:
        raise HandkitError(
            f"a network of {inputs} has no {idle[0]} to learn in stage {name}", f"set stages.{name}.learns"
        )


def stage_training(common: CommonTrainRecipe, stage: StereoStageRecipe, *, pairs: int) -> TrainRecipe:
    """The training's settings of a stage whose epoch has so many pairs."""
    steps = stage.steps or stage.epochs * max(1, -(-pairs // stage.batch))
    changes: dict[str, Any] = {
        "steps": steps,
        "lr": stage.lr,
        "decay_steps": round(steps * min(1.0, stage.decay_epochs / stage.epochs)),
        "norm_rests_from": None if stage.norm_share == 1 else round(steps * stage.norm_share),
    }
    return TrainRecipe.model_validate({**common.model_dump(), **changes})
