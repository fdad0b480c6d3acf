"""What a recipe of `generate seqhand` sets."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from handkit.recipe import Recipe

Share = Annotated[float, Field(ge=0, le=1)]
MonkTone = Annotated[int, Field(ge=1, le=10)]


class LooksRecipe(Recipe):
    """What hands and what is behind them may be kept to.

    skin: the lowest and the highest tone of the Monk scale, 1 to 10, whose templates are drawn. background: what is
    drawn where no folder is given, scikit-image's photographs, made-up patterns (plain, mottled, wooden, woven, tiled),
    or these and made-up scenes.
    """

    skin: tuple[MonkTone, MonkTone] = (1, 10)
    background: Literal["all", "photographs", "patterns"] = "all"

    @field_validator("skin")
    @classmethod
    def _palest_first(cls, skin: tuple[int, int]) -> tuple[int, int]:
        if skin[0] > skin[1]:
            raise ValueError("Input should be the lowest and the highest tone, as [1, 4]; of these no template is left")
        return skin


class FlowRecipe(Recipe):
    """How poses follow each other (SeqHAND Eq. 5 to 7).

    max_still: the share of a flow's steps, at most, that may land on the pose they left; other flows are drawn again.
    """

    alpha: Annotated[float, Field(gt=0, le=10)] = 1.2
    metric: Literal["euclidean", "l1-continuous"] = "euclidean"
    max_still: Share | None = None


class CameraRecipe(Recipe):
    """How the view moves: as the poses do ("paper"), or at the released code's rates.

    arm_lean_deg: how far, at most, the arm may lean towards the camera, where it would hide the hand.
    """

    recipe: Literal["paper", "released"] = "paper"
    in_frame: bool = True
    arm_lean_deg: Annotated[float, Field(ge=20, le=90)] | None = None


class ForearmRecipe(Recipe):
    """The share of sequences with a forearm of either kind; the rest have none."""

    bare: Share = 0.0
    sleeve: Share = 0.0

    @model_validator(mode="after")
    def _fit_in_one(self) -> "ForearmRecipe":
        if self.bare + self.sleeve > 1 + 1e-9:
            raise ValueError("bare and sleeve together should be at most 1")
        return self


class OccluderRecipe(Recipe):
    """The share of sequences with an object in front of the hand, or held in it; the rest have none."""

    front: Share = 0.0
    held: Share = 0.0

    @model_validator(mode="after")
    def _fit_in_one(self) -> "OccluderRecipe":
        if self.front + self.held > 1 + 1e-9:
            raise ValueError("front and held together should be at most 1")
        return self


class SequenceRecipe(LooksRecipe):
    """Sequences of hands in motion.

    size: pixels, width and height. theta: 10 PCA coefficients, or 45 axis-angle values. theta_source: the pose encoder
    of the bank's joints, or the pose that the built-in bank knows. shading: one random lamp and ambient light, or plain
    colours as published. supersample: samples along either side of a pixel.
    """

    frames: Annotated[int, Field(ge=1, le=1000)] = 10
    size: Annotated[int, Field(ge=32, le=2048)] = 224
    theta: Literal[10, 45] = 10
    theta_source: Literal["encoder", "bank"] = "encoder"
    shading: bool = True
    flow: FlowRecipe = FlowRecipe()
    camera: CameraRecipe = CameraRecipe()
    forearm: ForearmRecipe = ForearmRecipe()
    occluders: OccluderRecipe = OccluderRecipe()
    image_format: Literal["jpg", "png"] = "jpg"
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = 95
    supersample: Annotated[int, Field(ge=1, le=4)] = 2
