"""The settings of S2HAND's and S2HAND(V)'s runs: `handkit selfsup s2hand` and `handkit selfsup s2hand-video`.

Weights carry the paper's names; a term's weight is the product along Eq. 1, 2, 5, 8, 9 and 23, times its own factor of
`factors` (1), by which single terms are switched off, searched and tested.
"""

from typing import Annotated, Any, Final, Literal, get_args

from pydantic import Field

from handkit.hand.scaled import CameraKind
from handkit.recipe import Recipe
from handkit.train import TrainRecipe

SYNTHETIC: Final = "synthetic"
STAGES: Final = ("hand", "keypoints", "images", "video")
Term = Literal[
    "location",
    "orientation",
    "pixel",
    "ssim",
    "color",
    "shape",
    "texture",
    "scale",
    "limits",
    "estimated",
    "consistency",
    "quaternion",
    "texture_shape",
    "temporal",
    "smooth",
]
TERMS: Final = get_args(Term)

Weight = Annotated[float, Field(ge=0)]
Backbone = Literal["efficientnet_b0", "efficientnet_b3"]


class HandNetworkRecipe(Recipe):
    """The 3D network, on square crops of `size` px; `backbone_weights` is a file of torchvision's, or off.

    `camera` as in `handkit.hand.scaled`; `drop_path` is EfficientNet's stochastic depth. With `mean_shape` every hand
    has the mean shape.
    """

    backbone: Backbone = "efficientnet_b0"
    camera: CameraKind = "perspective"
    size: Annotated[int, Field(ge=64, le=512)] = 224
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.2
    mean_shape: bool = False
    backbone_weights: str | None = None


class KeypointNetworkRecipe(Recipe):
    """The 2D keypoint estimator, a stacked hourglass; off, where the 3D network learns alone."""

    stacks: Annotated[int, Field(ge=1, le=8)] = 2
    features: Annotated[int, Field(ge=16, le=512)] = 256
    modules: Annotated[int, Field(ge=1, le=4)] = 2


class CropRecipe(Recipe):
    """How hands are cut out: the crop's side over the hand's box, and how it moves; a window moves as one."""

    box_scale: Annotated[float, Field(ge=1, le=3)] = 1.6
    reposition: Annotated[float, Field(ge=0, le=1)] = 0.5
    rotate_deg: Annotated[float, Field(ge=0, le=180)] = 180.0
    scale_jitter: Annotated[float, Field(ge=0, lt=1)] = 0.1
    color_jitter: bool = False


class UnlabelledDataRecipe(Recipe):
    """Pictures and videos without labels; without `sources` synthetic sequences, their labels unused.

    A source is a path or NAME=DIR of a data set, as `--data` takes it. The share `held_out` chooses the best weights
    unless `val` names sources for that. `keypoints` are files in the detector's place. With `supervision` "weak" the
    data sets' true 2D keypoints are learned from, all of one confidence (Table 6). `frames` and `interval` are n and
    the distance of the frames of a window (4.3, Table 7).
    """

    sources: tuple[str, ...] = ()
    val: tuple[str, ...] = ()
    keypoints: str | None = None
    hands: Literal["both", "left", "right"] = "both"
    max_hands: Annotated[int, Field(ge=1, le=20)] = 2
    focal: Annotated[float, Field(gt=0)] | None = None
    K: tuple[float, float, float, float] | None = None
    camera: str | None = None
    supervision: Literal["self", "weak"] = "self"
    frames: Annotated[int, Field(ge=2, le=100)] = 3
    interval: Annotated[int, Field(ge=1, le=100)] = 3
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.1
    validation_hands: Annotated[int, Field(ge=1)] = 300
    samples: Annotated[int, Field(ge=1)] | None = None
    synthetic_recipe: str = "seqhand"
    synthetic_sequences: Annotated[int, Field(ge=2)] = 400
    workers: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    crop: CropRecipe = CropRecipe()


class RenderRecipe(Recipe):
    """The soft rasteriser under the photometric terms: pictures of `size` px (off: the network's), sharpness, depth."""

    size: Annotated[int, Field(ge=16, le=512)] | None = None
    sigma_px2: Annotated[float, Field(gt=0)] = 0.2
    gamma: Annotated[float, Field(gt=0)] = 1e-3


class WeightRecipe(Recipe):
    """The paper's weighting factors (4.3). Eq. 21 prints a sum over n frames where ours is a mean: it is put in.

    `temporal` and `smooth` are the terms that Table 4 compares with; `color` is the released code's mean colour.
    """

    w_3d: Weight = 1.0
    w_2d: Weight = 0.001
    w_cons: Weight = 0.0002
    w_geo: Weight = 0.001
    w_photo: Weight = 0.005
    w_regu: Weight = 0.01
    w_quat: Weight = 0.05
    w_ts: Weight = 0.01
    w_ori: Weight = 100.0
    w_ssim: Weight = 0.2
    w_c: Weight = 0.5
    w_s: Weight = 10.0
    w_j: Weight = 10.0
    color: Weight = 0.0
    temporal: Weight = 0.0
    smooth: Weight = 0.0


class LossRecipe(Recipe):
    """The objective: the paper's equations, or with `form` "released" what the released code computes instead.

    `bone_length_m` is E_s' length of the middle finger's first bone; off, the hand model's own mean. The released 28.2
    mm are FreiHAND's with MANO; the open hand's are 40.5. `temporal_pose` is theta's weight within SeqHAND's term,
    `smooth_threshold_rad` the turn from frame to frame that the smooth one lets pass.
    """

    form: Literal["paper", "released"] = "paper"
    weights: WeightRecipe = WeightRecipe()
    factors: dict[Term, Weight] = Field(default_factory=dict)
    bone_length_m: Annotated[float, Field(gt=0)] | None = None
    temporal_pose: Weight = 2e-4
    smooth_threshold_rad: Weight = 0.1
    render: RenderRecipe = RenderRecipe()


class StageRecipe(Recipe):
    """One stage: `epochs` over the frames, or so many `steps`; the rate falls by `factor` after every `drop_every`.

    `drop_every` counts epochs, or with `steps` the same shares of them. `batch` counts frames: of videos batch // n
    windows of n frames are taken. Terms in `without` take no part. After `norm_share` of the steps the
    normalisation layers keep their statistics: of small batches they are not those that the network is used with.
    """

    epochs: Annotated[int, Field(ge=1)] = 90
    steps: Annotated[int, Field(ge=1)] | None = None
    batch: Annotated[int, Field(ge=1)] = 64
    lr: Annotated[float, Field(gt=0)] = 1e-3
    drop_every: Annotated[int, Field(ge=1)] = 30
    factor: Annotated[float, Field(gt=0, le=1)] = 0.5
    without: tuple[Term, ...] = ()
    norm_share: Annotated[float, Field(ge=0, le=1)] = 1.0


class StagesRecipe(Recipe):
    """The published stages: the two branches apart, then together on images, or instead on video."""

    hand: StageRecipe = StageRecipe()
    keypoints: StageRecipe = StageRecipe()
    images: StageRecipe = StageRecipe(epochs=60, lr=2.5e-4, drop_every=20, factor=1 / 3)
    video: StageRecipe = StageRecipe(epochs=60, lr=2.5e-4, drop_every=20, factor=1 / 3)


Phase = Literal["initial", "refinement", "sensitivity"]
Factor = Annotated[float, Field(gt=0)]


class SearchRecipe(Recipe):
    """The supplement's search of loss weights (section 1): short trainings on `samples` hands, Adam of one rate `lr`.

    `initial`: each weight goes up and down by factors of `step`, `most_steps` of them at most either way.
    `refinement`: a grid of `candidates` times the weights in every group of terms. `sensitivity`: each weight times
    each factor of `sensitivity`, measured on held-out hands after learning from `sensitivity_samples` (off: `samples`).
    A phase begins with what those of `phases` before it found, the first one with the recipe's own weights.
    """

    samples: Annotated[int, Field(ge=2)] = 30
    batch: Annotated[int, Field(ge=2)] = 10
    epochs: Annotated[int, Field(ge=1)] = 10
    lr: Annotated[float, Field(gt=0)] = 1e-3
    step: Annotated[float, Field(gt=1)] = 10.0
    most_steps: Annotated[int, Field(ge=1, le=10)] = 4
    candidates: Annotated[tuple[Factor, ...], Field(min_length=1)] = (0.5, 1.0, 2.0)
    sensitivity: Annotated[tuple[Factor, ...], Field(min_length=1)] = (0.5, 2.0)
    sensitivity_samples: Annotated[int, Field(ge=2)] | None = None
    phases: Annotated[tuple[Phase, ...], Field(min_length=1)] = get_args(Phase)


class CommonTrainRecipe(TrainRecipe):
    """What the stages share of a training's settings; steps, rate, schedule and normalisation are each stage's own."""

    steps: Annotated[int, Field(ge=1)] = 1


class S2HandRecipe(Recipe):
    """A run of `handkit selfsup s2hand` or `handkit selfsup s2hand-video`."""

    hand: str = "open"
    network: HandNetworkRecipe = HandNetworkRecipe()
    keypoints: KeypointNetworkRecipe | None = KeypointNetworkRecipe()
    data: UnlabelledDataRecipe = UnlabelledDataRecipe()
    loss: LossRecipe = LossRecipe()
    stages: StagesRecipe = StagesRecipe()
    search: SearchRecipe = SearchRecipe()
    train: CommonTrainRecipe = CommonTrainRecipe(optimizer="adam", schedule="milestones")

    def stage(self, name: str) -> StageRecipe:
        found: StageRecipe = getattr(self.stages, name)
        return found


def term_weights(loss: LossRecipe, frames: int) -> dict[str, float]:
    """Every term's weight in the loss; `frames` is n, the frames of a window."""
    w = loss.weights
    weights = {
        "location": w.w_3d * w.w_geo,
        "orientation": w.w_3d * w.w_geo * w.w_ori,
        "pixel": w.w_3d * w.w_photo,
        "ssim": w.w_3d * w.w_photo * w.w_ssim,
        "color": w.w_3d * w.color,
        "shape": w.w_3d * w.w_regu,
        "texture": w.w_3d * w.w_regu * w.w_c,
        "scale": w.w_3d * w.w_regu * w.w_s,
        "limits": w.w_3d * w.w_regu * w.w_j,
        "estimated": w.w_2d,
        "consistency": w.w_cons,
        "quaternion": w.w_quat,
        "texture_shape": w.w_ts * frames,
        "temporal": w.temporal,
        "smooth": w.smooth,
    }
    factors: dict[Any, float] = dict(loss.factors)
    return {name: weight * factors.get(name, 1.0) for name, weight in weights.items()}


def stage_training(common: CommonTrainRecipe, stage: StageRecipe, *, frames: int, batch: int) -> TrainRecipe:
    """The training's settings of a stage over so many frames, `batch` of them a step."""
    per_epoch = max(1, -(-frames // batch))
    steps = stage.steps or stage.epochs * per_epoch
    share = stage.drop_every / stage.epochs
    drops = [round(steps * share * k) for k in range(1, int(1 / share + 1e-9) + 1)]
    changes: dict[str, Any] = {
        "steps": steps,
        "lr": stage.lr,
        "schedule": "milestones",
        "milestones": tuple(drop for drop in drops if 0 < drop < steps),
        "factor": stage.factor,
        "norm_rests_from": None if stage.norm_share == 1 else round(steps * stage.norm_share),
    }
    return TrainRecipe.model_validate({**common.model_dump(), **changes})
