"""Which settings a branch of S2HAND looks at: rows that differ elsewhere share what it learned."""

from typing import Any, Final

from handkit.methods.s2hand_loss import STAGE_TERMS
from handkit.methods.s2hand_recipe import (
    HandNetworkRecipe,
    LossRecipe,
    S2HandRecipe,
    StagesRecipe,
    UnlabelledDataRecipe,
    WeightRecipe,
    term_weights,
)

_NAMES: Final = tuple(WeightRecipe.model_fields)


def branch_settings(settings: S2HandRecipe, stage: str) -> S2HandRecipe:
    """The settings of the stage "hand" or "keypoints" with all that it does not look at as it is by default.

    The data are left out too: who compares settings has to compare `GatheredData.key` beside them.
    """
    usual = UnlabelledDataRecipe()
    changed: dict[str, Any] = {
        "data": settings.data.model_copy(
            update={name: getattr(usual, name) for name in ("sources", "val", "frames", "interval")}
        ),
        "loss": _loss(settings, stage),
        "stages": StagesRecipe().model_copy(update={stage: settings.stage(stage)}),
    }
    if stage == "keypoints":
        changed["network"] = HandNetworkRecipe(size=settings.network.size)
    else:
        changed["keypoints"] = None
    return settings.model_copy(update=changed)


def _loss(settings: S2HandRecipe, stage: str) -> LossRecipe:
    loss, usual = settings.loss, LossRecipe()
    terms = [name for name in STAGE_TERMS[stage] if name not in settings.stage(stage).without]
    used = {name: getattr(loss.weights, name) for name in _NAMES if not _weights_of(name).isdisjoint(terms)}
    whole = term_weights(loss.model_copy(update={"factors": {}}), frames=1)
    factors = {name: value for name, value in loss.factors.items() if name in terms and value != 1 and whole[name] > 0}
    kept: dict[str, Any] = {"form": loss.form, "factors": factors, "weights": usual.weights.model_copy(update=used)}
    if stage == "hand":
        kept |= {"bone_length_m": loss.bone_length_m, "render": loss.render}
    return usual.model_copy(update=kept)


def _weights_of(name: str) -> set[str]:
    """The terms that a weighting factor is in."""
    ones = dict.fromkeys(_NAMES, 1.0)
    plain, doubled = (
        term_weights(LossRecipe(weights=WeightRecipe(**weights)), frames=1) for weights in (ones, {**ones, name: 2.0})
    )
    return {term for term in plain if plain[term] != doubled[term]}
