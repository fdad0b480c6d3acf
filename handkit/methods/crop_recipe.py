"""Settings of runs that learn from crops of single hands: which hands there are, and how they are cut out."""

from typing import Annotated, Final, Literal

from pydantic import Field

from handkit.data.keypoint_noise import KeypointNoise
from handkit.methods.seqhand_recipe import StillSource
from handkit.recipe import Recipe

EPOCH: Final = 32_560  # FreiHAND's pictures


class CropRecipe(Recipe):
    """How hands are cut out: the crop's side over the hand's box, and how far they are moved, turned, scaled, blurred.

    `reposition` is the share of the room beside the hand; `blur` the largest standard deviation in 224ths of the crop.
    """

    box_scale: Annotated[float, Field(ge=1, le=3)] = 1.5
    reposition: Annotated[float, Field(ge=0, le=1)] = 0.5
    rotate_deg: Annotated[float, Field(ge=0, le=180)] = 90.0
    scale_jitter: Annotated[float, Field(ge=0, lt=1)] = 0.15
    blur: Annotated[float, Field(ge=0)] = 2.0
    color_jitter: bool = False


class CropDataRecipe(Recipe):
    """Hands to learn from: data sets, folders of `handkit generate seqhand` or `stereo`; without any, drawn frames.

    Those are of `recipe` (settings of `handkit generate seqhand`), of `frame_size` px (off: the network's), `frames` of
    every sequence. `epoch` is what counts as one of drawn hands. The best weights are chosen by `validation_hands`
    others, drawn by `validation_seed` or the share `held_out` of every data set's scenes. `noise` is what detected
    keypoints, about which hands are cut out, are off by (off: they are true).
    """

    sources: tuple[StillSource, ...] = ()
    shards: tuple[str, ...] = ()
    recipe: str = "seqhand"
    poses: str = "builtin"
    backgrounds: str | None = None
    frame_size: Annotated[int, Field(ge=64, le=1024)] | None = None
    frames: Annotated[int, Field(ge=1, le=100)] = 1
    sequences: Annotated[int, Field(ge=1)] | None = None
    epoch: Annotated[int, Field(ge=1)] = EPOCH
    workers: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.1
    validation_hands: Annotated[int, Field(ge=1)] = 500
    validation_seed: Annotated[int, Field(ge=1)] = 1
    noise: KeypointNoise | None = KeypointNoise()
    crop: CropRecipe = CropRecipe()
