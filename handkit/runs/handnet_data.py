"""What a HandNet run learns from: data sets, generated shards or hands drawn as training goes, in batches of crops."""

from handkit.data.posed_hands import PosedHandBatches
from handkit.data.sample import HandSample
from handkit.data.staged_batches import Batch, BatchSource
from handkit.errors import HandkitError
from handkit.hand.model import load_hand
from handkit.methods.handnet_recipe import Drawn, HandNetRecipe, StageRecipe
from handkit.runs.crop_data import CropData, CutAhead, with_sources
from handkit.train import Place


class HandNetData(CropData[HandNetRecipe]):
    """Hands to learn from and others to choose by; without data sets both are drawn, frames or poses."""

    @property
    def looks(self) -> bool:
        return self.settings.network.inputs != "keypoints"

    def check(self, name: str, stage: StageRecipe) -> None:
        """Raise HandkitError where the stage has nothing to learn from: no pictures, no poses, no masks."""
        loss, drawn = self.settings.loss, stage.drawn or self.settings.data.drawn
        if not self.known:
            if drawn == "poses" and ("image" in stage.sees or stage.learns_masks):
                raise HandkitError(
                    f"stage {name} sees images, and drawn poses have none",
                    f"set data.drawn=frames or stages.{name}.drawn=frames, or give --data or --shards",
                )
            return
        if stage.learns_masks and not any(bool(sample["mask_valid"]) for sample in self.known):
            raise HandkitError(f"stage {name} learns masks, and {self.words} has none", "give data that have masks")
        if (
            stage.learns_hands
            and not (loss.joints_3d or loss.distance_3d)
            and not any(self._has_pose(sample) for sample in self.known)
        ):
            raise HandkitError(
                f"nothing in {self.words} is annotated with a pose of the hand {self.hand.name!r}",
                "give --hand-model the hand that the data were annotated with, or learn from 3D joints: "
                "--set loss.joints_3d=10",
            )

    def training(self, stage: StageRecipe) -> BatchSource:
        """Varied crops, endless."""
        data, seed = self.settings.data, self.settings.train.seed
        if data.noise is None and stage.missing:
            raise HandkitError("data.noise is off, so no keypoints can be missing", "set the stage's missing to 0")
        if not self.known and (stage.drawn or data.drawn) == "poses":
            options = self.varied_options(stage.missing)
            return CutAhead(PosedHandBatches(hand=self.hand, batch=stage.batch, seed=seed, **options))
        return self.varied(stage.batch, missing=stage.missing, want_image="image" in stage.sees)

    def validation(self, place: Place) -> list[Batch]:
        """As of any crops; of drawn poses without pictures."""
        data = self.settings.data
        if self.known or data.drawn != "poses":
            return super().validation(place)
        number, seed = data.validation_hands, data.validation_seed
        batch = min(64, number)
        drawn = PosedHandBatches(hand=self.hand, batch=batch, seed=seed, **self.crop_options())
        return drawn.fixed(number, batch, place)

    def _has_pose(self, sample: HandSample) -> bool:
        return bool(sample["pose_valid"]) and sample["hand_model"] == self.hand.name


def find_data(settings: HandNetRecipe) -> HandNetData:
    """Open the recipe's data sets and shards. Raises HandkitError for one that is missing, damaged or too small."""
    words = _drawn_words(settings.data.drawn, settings.data.recipe)
    return with_sources(HandNetData(settings, load_hand(settings.hand, "right"), words=words))


def _drawn_words(drawn: Drawn, recipe: str) -> str:
    return "drawn poses" if drawn == "poses" else f"drawn frames ({recipe})"
