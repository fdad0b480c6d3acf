"""The settings of HandNet's runs: `handkit pretrain handnet`, the five stages of RealisticHands' Fig. 4.

Published are stages, epochs, optimiser, loss weights and which kinds of augmentation there are; batch, the amounts of
augmentation and the width of the heat maps are chosen.
"""

from typing import Annotated, Any, Final, Literal, get_args

from pydantic import Field

from handkit.errors import HandkitError
from handkit.methods.crop_recipe import CropDataRecipe
from handkit.methods.s2hand_recipe import CommonTrainRecipe
from handkit.methods.seqhand_recipe import Weight
from handkit.nets.handnet import Inputs
from handkit.recipe import Recipe
from handkit.train import TrainRecipe

StageName = Literal["image", "keypoint", "fusion", "finalize", "segmentation"]
STAGES: Final = get_args(StageName)
Part = Literal["image_head", "keypoint_head", "fusion", "tail", "regressor", "segmentation"]
Drawn = Literal["frames", "poses"]
_MASK_PART: Final = "segmentation"
_WORDS: Final = {"image": "images", "keypoints": "keypoints"}
# What a part sees of "image" and "keypoints"; the others see what there is.
_SEES: Final = {
    "image_head": {"image"},
    "keypoint_head": {"keypoints"},
    "fusion": {"image", "keypoints"},
    "segmentation": {"image"},
}


class HandNetworkRecipe(Recipe):
    """Which network, on square crops of `size` px; `backbone_weights` is a file of torchvision's, or off.

    `inputs` is what it can see at all; `sigma` the width of a keypoint's Gaussian, in image widths.
    """

    backbone: Literal["resnet50", "regnet_x_400mf", "plain", "plain-slim", "integral"] = "resnet50"
    inputs: Inputs = "both"
    size: Annotated[int, Field(ge=32, le=512, multiple_of=32)] = 224
    sigma: Annotated[float, Field(gt=0, le=0.5)] = 0.02
    backbone_weights: str | None = None


class HandNetDataRecipe(CropDataRecipe):
    """Hands to learn from, as `CropDataRecipe` has them.

    Drawn are single "frames", pictures of `frame_size` px; or "poses", hands without a picture, for keypoints alone.
    """

    drawn: Drawn = "frames"


class LossRecipe(Recipe):
    """Weights of Eq. 9: lambda_1 to lambda_5, in their order; ours are 3D terms, off as published, in units of 10 cm.

    `joints_3d` weighs the mean square of the joints' errors, `distance_3d` their mean distance. 2D joints are in image
    widths. A term of weight 0 is left out.
    """

    pose: Weight = 10.0
    shape: Weight = 1.0
    joints_2d: Weight = 100.0
    shape_prior: Weight = 0.5
    camera: Weight = 1e-5
    joints_3d: Weight = 0.0
    distance_3d: Weight = 0.0
    vertices: Weight = 0.0


class StageRecipe(Recipe):
    """One stage: what it sees, which parts learn (the others stay as they are, bit for bit), and for how long.

    It begins with the best weights of the stage `after` (off: a new network), and takes `epochs` over the data or so
    many `steps`; in the last `decay_epochs`, or the same share of the steps, the rate falls to nothing. The share
    `missing` of the hands has no keypoints. `drawn` is the data's own unless given. After `norm_share` of the steps
    normalisation layers that learn keep their statistics: of small batches they are not those of use.
    """

    inputs: Inputs
    learns: Annotated[tuple[Part, ...], Field(min_length=1)]
    after: StageName | None = None
    epochs: Annotated[int, Field(ge=1)] = 100
    steps: Annotated[int, Field(ge=1)] | None = None
    decay_epochs: Annotated[int, Field(ge=0)] = 20
    batch: Annotated[int, Field(ge=1)] = 64
    lr: Annotated[float, Field(gt=0)] = 2e-4
    missing: Annotated[float, Field(ge=0, le=1)] = 0.0
    drawn: Drawn | None = None
    norm_share: Annotated[float, Field(ge=0, le=1)] = 1.0

    @property
    def sees(self) -> set[str]:
        return seen_by(self.inputs)

    @property
    def learns_masks(self) -> bool:
        return _MASK_PART in self.learns

    @property
    def learns_hands(self) -> bool:
        return any(part != _MASK_PART for part in self.learns)


class StagesRecipe(Recipe):
    """The stages that a recipe has, in this order."""

    image: StageRecipe | None = None
    keypoint: StageRecipe | None = None
    fusion: StageRecipe | None = None
    finalize: StageRecipe | None = None
    segmentation: StageRecipe | None = None


class HandNetRecipe(Recipe):
    """A run of `handkit pretrain handnet`."""

    hand: str = "open"
    network: HandNetworkRecipe = HandNetworkRecipe()
    data: HandNetDataRecipe = HandNetDataRecipe()
    loss: LossRecipe = LossRecipe()
    stages: StagesRecipe
    train: CommonTrainRecipe = CommonTrainRecipe(optimizer="adam", betas=(0.9, 0.99), schedule="trailing")

    def stage(self, name: str) -> StageRecipe:
        """The stage of that name. Raises HandkitError where the recipe has none, or one that its network cannot run."""
        found: StageRecipe | None = getattr(self.stages, name, None)
        if found is None:
            raise HandkitError(f"the recipe has no stage {name!r}", f"it has {', '.join(self.stage_names)}")
        check_stage(name, found, self.network.inputs)
        return found

    @property
    def stage_names(self) -> list[str]:
        return [name for name in STAGES if getattr(self.stages, name) is not None]


def seen_by(inputs: Inputs) -> set[str]:
    """What there is to see: "image", "keypoints" or both."""
    return set(_WORDS) if inputs == "both" else {str(inputs)}


def check_stage(name: str, stage: StageRecipe, inputs: Inputs) -> None:
    """Raise HandkitError unless a network of such inputs can see what the stage does, and its parts take part."""
    sees = seen_by(inputs)
    if not stage.sees <= sees:
        raise HandkitError(
            f"stage {name} sees {_words(stage.sees)}, and the network {_words(sees)}",
            f"set stages.{name}.inputs or network.inputs",
        )
    idle = [part for part in stage.learns if not _SEES.get(part, set()) <= stage.sees]
    if idle:
        raise HandkitError(
            f"stage {name} sees {_words(stage.sees)}, of which {idle[0]} learns nothing",
            f"set stages.{name}.inputs, or take {idle[0]} out of stages.{name}.learns",
        )


def stage_training(common: CommonTrainRecipe, stage: StageRecipe, *, hands: int) -> TrainRecipe:
    """The training's settings of a stage whose epoch has so many hands."""
    steps = stage.steps or stage.epochs * max(1, -(-hands // stage.batch))
    decay = min(1.0, stage.decay_epochs / stage.epochs) if common.schedule == "trailing" else 0
    changes: dict[str, Any] = {
        "steps": steps,
        "lr": stage.lr,
        "decay_steps": round(steps * decay),
        "norm_rests_from": None if stage.norm_share == 1 else round(steps * stage.norm_share),
    }
    return TrainRecipe.model_validate({**common.model_dump(), **changes})


def _words(sees: set[str]) -> str:
    return " and ".join(words for name, words in _WORDS.items() if name in sees)
