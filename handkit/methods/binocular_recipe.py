"""The settings of `handkit selfsup binocular`: a hand prior moves to the pictures of a pair of cameras, without labels.

Published (supplement, 3) are batch, optimiser, rate and its fall, epochs, and crops that are not varied. Of the loss it
names no more than left-right consistency, appearance and shape: terms, their forms and weights are chosen.
"""

from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from handkit.data.handnet_crops import Centre
from handkit.data.keypoint_noise import KeypointNoise
from handkit.methods.hand_prior_recipe import LearningRecipe
from handkit.methods.s2hand_recipe import CommonTrainRecipe
from handkit.methods.seqhand_recipe import Weight
from handkit.recipe import Recipe

# What needs no labels; the prior's pull is a term beside these.
TERMS: Final = ("epipolar", "appearance", "edges", "normals", "one_shape", "silhouette")
PULL: Final = "prior"
PAIRS: Final = 15_000  # those of STB's training part

Positive = Annotated[float, Field(gt=0)]


class ViewsRecipe(Recipe):
    """Two pictures, folders of them, or videos of the same hands at the same times, and the file of their cameras."""

    left: str
    right: str
    rig: str


class PairedSetRecipe(Recipe):
    """A data set that has pairs: "stb". Its labels say where hands are in the picture, and are measured against."""

    dataset: str
    root: str
    split: str | None = None
    options: dict[str, str] = Field(default_factory=dict)


class BinocularDataRecipe(Recipe):
    """Pairs to learn from: of `stereo` views, of a data set, of `shards`; without any `pairs` of `recipe` are made.

    Hands in `stereo` views are found by MediaPipe, at most `max_hands` of at least `min_score` in every `stride`th
    picture, and kept as patches of `patch_px`. Of other pairs `noise` is what detected keypoints are off by (off: they
    are true). Crops are centred on the hand's box or the middle finger's root (off: that of STB, the box of others).
    `masks` come from GrabCut or colour, begun by the keypoints, or are those `given` as labels (off: none).

    In the order of an epoch so many neighbours stay `together`, of whom a batch then has frames of one hand.

    The last share `held_out` of the pairs is not learned from; `validation_pairs` of those, spread over all, choose the
    best weights. `epoch` is what counts as one (off: as many as are learned from). Crops are kept up to `keep_mib`.
    """

    stereo: tuple[ViewsRecipe, ...] = ()
    dataset: PairedSetRecipe | None = None
    shards: str | None = None
    recipe: str = "stereo"
    pairs: Annotated[int, Field(ge=2)] = PAIRS
    max_hands: Annotated[int, Field(ge=1, le=20)] = 2
    min_score: Annotated[float, Field(ge=0, le=1)] = 0.5
    stride: Annotated[int, Field(ge=1)] = 1
    patch_px: Annotated[int, Field(ge=64, le=1024)] = 320
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.1
    validation_pairs: Annotated[int, Field(ge=1)] = 500
    epoch: Annotated[int, Field(ge=1)] | None = None
    centre: Centre | None = None
    masks: Literal["grabcut", "hsv", "given"] | None = "grabcut"
    noise: KeypointNoise | None = KeypointNoise()
    together: Annotated[int, Field(ge=1)] = 2
    workers: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    keep_mib: Annotated[int, Field(ge=0)] = 1024


class BinocularLossRecipe(Recipe):
    """Weights of the terms; one of 0 is left out. The `prior`'s pull falls in a line to nothing.

    It is gone after the share `prior_decay` of the steps (off: it stays as it is).
    """

    epipolar: Weight = 1.0
    appearance: Weight = 0.1
    edges: Weight = 1.0
    normals: Weight = 0.1
    one_shape: Weight = 0.1
    silhouette: Weight = 1.0
    prior: Weight = 1.0
    prior_decay: Annotated[float, Field(gt=0, le=1)] | None = 0.5

    @model_validator(mode="after")
    def _learns(self) -> "BinocularLossRecipe":
        if not any(getattr(self, name) for name in TERMS):
            raise ValueError(
                f"one of {', '.join(TERMS)} should weigh more than 0: a prior's pull alone teaches nothing"
            )
        return self


class BinocularFormsRecipe(Recipe):
    """Numbers of the terms. Where Huber's loss turns from a square to a line: `epipolar_soft`, in image widths, and
    `appearance_soft`, in standard deviations of a view's colours.

    Colours are read from crops of `appearance_px`. Silhouettes are of `silhouette_px`, as sharp as `sigma_px2`;
    `coarse` weighs them once more as means over windows of `window_px`, which have a slope from further away.
    Edges have the lengths that they have in the prior's own mesh of the view, or in the hand model's "mean" hand.
    """

    edges_of: Literal["prior", "mean"] = "prior"

    epipolar_soft: Positive = 0.02
    appearance_soft: Positive = 0.5
    appearance_px: Annotated[int, Field(ge=16, le=512)] = 128
    silhouette_px: Annotated[int, Field(ge=16, le=256)] = 64
    sigma_px2: Positive = 0.2
    window_px: Annotated[int, Field(ge=2, le=64)] = 9
    coarse: Weight = 1.0


class PairLearningRecipe(LearningRecipe):
    """As of the prior, `batch` and epochs counting pairs."""

    epochs: Annotated[int, Field(ge=1)] = 13
    drops: tuple[Annotated[int, Field(ge=1)], ...] = (8, 10)
    batch: Annotated[int, Field(ge=1)] = 4


class BinocularRecipe(Recipe):
    """A run of `handkit selfsup binocular`; network, size of crops and hand are those of the prior it begins with."""

    data: BinocularDataRecipe = BinocularDataRecipe()
    loss: BinocularLossRecipe = BinocularLossRecipe()
    forms: BinocularFormsRecipe = BinocularFormsRecipe()
    learning: PairLearningRecipe = PairLearningRecipe()
    train: CommonTrainRecipe = CommonTrainRecipe(optimizer="adam", schedule="milestones")


def pull_ends(settings: BinocularRecipe, steps: int) -> int | None:
    """The step from which on nothing pulls to the prior; None where that never ends."""
    share = settings.loss.prior_decay
    return None if share is None else max(1, round(share * steps))
