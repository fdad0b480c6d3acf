"""The settings of SeqHAND's runs: `handkit pretrain seqhand` and `handkit finetune seqhand`.

Neither paper says which units its loss terms are in, nor optimiser, learning rate, batch or epochs: units are settings
here (`UnitRecipe`), the others are chosen.
"""

from typing import Annotated, Literal

from pydantic import Field

from handkit.recipe import Recipe
from handkit.train import TrainRecipe

SYNTHETIC = "synthetic"

Weight = Annotated[float, Field(ge=0)]
Length = Annotated[float, Field(gt=0)]


class NetworkRecipe(Recipe):
    """Which network, on images of which size (px); `backbone_weights` is a file of torchvision's, or off."""

    name: str = "seqhand"
    size: Annotated[int, Field(ge=64, le=1024)] = 224
    backbone_weights: str | None = None


class SequenceDataRecipe(Recipe):
    """Sequences to learn from: drawn as training goes ("synthetic"), or a folder of shards.

    For the first `short_share` of the steps windows are of `short_frames` frames, and as many more of them as keep the
    number of pictures: more hands a step, by which a random backbone begins to learn sooner.
    `recipe` is `generate`'s; `sequences` limits how many different ones there are. `validation_seed` draws those that
    the best weights are chosen by: never those of the fixed validation set, whose seed is 0.
    """

    source: str = SYNTHETIC
    recipe: str = "seqhand"
    poses: str = "builtin"
    backgrounds: str | None = None
    sequences: Annotated[int, Field(ge=1)] | None = None
    batch: Annotated[int, Field(ge=1)] = 16
    frames: Annotated[int, Field(ge=1, le=1000)] = 10
    short_frames: Annotated[int, Field(ge=1)] = 2
    short_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    workers: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    color_jitter: bool = False
    validation_sequences: Annotated[int, Field(ge=1)] = 100
    validation_seed: Annotated[int, Field(ge=1)] = 1


class StillSource(Recipe):
    """A data set of `handkit.data.registry`: folder, split (off: its training part), options, share of frames."""

    dataset: str
    root: str
    split: str | None = None
    options: dict[str, str] = Field(default_factory=dict)
    weight: Annotated[float, Field(gt=0)] = 1.0


class StillDataRecipe(Recipe):
    """Single pictures to finetune on; `reposition`, `rotate_deg` and `scale` move the hand within the crop.

    The last share `held_out` of every source's scenes chooses the best weights.
    """

    sources: tuple[StillSource, ...] = ()
    batch: Annotated[int, Field(ge=1)] = 64
    workers: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    box_scale: Annotated[float, Field(ge=1)] = 2.2
    reposition: Annotated[float, Field(ge=0, le=1)] = 1.0
    rotate_deg: Annotated[float, Field(ge=0, le=180)] = 0.0
    scale_jitter: Annotated[float, Field(ge=0, lt=1)] = 0.0
    color_jitter: bool = False
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.05
    validation_stills: Annotated[int, Field(ge=1)] = 500


class UnitRecipe(Recipe):
    """What one unit of a term is; theta and beta are in coefficients, r in rad."""

    joints_2d_widths: Length = 0.1  # image widths
    joints_3d_m: Length = 0.1
    vertices_m: Length = 0.1
    mask_widths: Length = 0.1
    scale_widths_per_m: Length = 0.5
    shift_widths: Length = 0.1


class LossRecipe(Recipe):
    """Weights of Eq. 14 and 15; a term of weight 0 is left out.

    Means over joints, vertices and frames stand where the equations print sums. `temporal_pose` is the theta weight
    within Eq. 12. Eq. 11 counts vertices outside the mask, which no gradient can lower: its weight goes to their mean
    distance from the mask.
    """

    joints_2d: Weight = 5.0
    joints_3d: Weight = 100.0
    vertices: Weight = 0.0
    temporal: Weight = 100.0
    temporal_pose: Weight = 2e-4
    camera: Weight = 1.0
    mask: Weight = 10.0
    units: UnitRecipe = UnitRecipe()


class SeqHandRecipe(Recipe):
    """A run of `handkit pretrain seqhand`."""

    hand: str = "open"
    network: NetworkRecipe = NetworkRecipe()
    data: SequenceDataRecipe = SequenceDataRecipe()
    loss: LossRecipe = LossRecipe()
    train: TrainRecipe


class FinetuneRecipe(Recipe):
    """A run of `handkit finetune seqhand`: `freeze_memory` keeps the recurrent layer as pretraining left it."""

    hand: str = "open"
    freeze_memory: bool = True
    data: StillDataRecipe = StillDataRecipe()
    loss: LossRecipe = LossRecipe(temporal=0.0, camera=0.0, vertices=100.0)
    train: TrainRecipe
