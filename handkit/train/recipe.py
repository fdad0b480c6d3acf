"""The settings that any method's training has."""

from typing import Annotated, Literal

from pydantic import Field

from handkit.recipe import Recipe

Share = Annotated[float, Field(ge=0, lt=1)]


class TrainRecipe(Recipe):
    """How any method is trained.

    `betas` are Adam's and AdamW's, `momentum` SGD's. After `warmup_steps` the rate follows the schedule: "cosine" and
    "linear" end at `final_lr`, a share of `lr`; "trailing" stays until the last `decay_steps`, over which it falls in a
    line to `final_lr`; "milestones" multiplies it by `factor` at each of the steps `milestones`. `norm` "eval" keeps
    every normalisation layer's statistics as they were; with `norm_rests_from` they are taken until that step and kept
    from then on. `sync_norm` takes them over all processes (CUDA); without it each normalises by its own, and the
    running ones are their mean. `ema` is the decay of the average of weights that is validated and kept in their place.
    """

    steps: Annotated[int, Field(ge=1)]
    seed: Annotated[int, Field(ge=0)] = 0
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: Annotated[float, Field(gt=0)] = 1e-3
    betas: tuple[Share, Share] = (0.9, 0.999)
    momentum: Share = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    schedule: Literal["cosine", "linear", "constant", "trailing", "milestones"] = "cosine"
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    final_lr: Annotated[float, Field(ge=0, le=1)] = 0.0
    decay_steps: Annotated[int, Field(ge=0)] = 0
    milestones: tuple[Annotated[int, Field(ge=1)], ...] = ()
    factor: Annotated[float, Field(gt=0, le=1)] = 0.1
    clip_norm: Annotated[float | None, Field(gt=0)] = None
    accumulate: Annotated[int, Field(ge=1)] = 1
    ema: Share | None = None
    norm: Literal["train", "eval"] = "train"
    norm_rests_from: Annotated[int | None, Field(ge=0)] = None
    sync_norm: bool = False
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    channels_last: bool = False
    compile: bool = False
    log_every: Annotated[int, Field(ge=1)] = 50
    validate_every: Annotated[int, Field(ge=1)] = 500
    save_every: Annotated[int, Field(ge=1)] = 500
    tensorboard: bool = True
    half_weights: bool = False
