"""`handkit selfsup s2hand --search-weights`: the search of loss weights of S2HAND's supplement (section 1).

Its three phases make short trainings of the stage together (`s2hand_overfit`) with weights that `s2hand_search_plan`
chooses. OUT/search holds the trials, so that a search goes on where it was stopped, its tables, and the recipe with
the best weights. Weights count from E_loc's, which begins at 1, the recipe's own.
"""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from typing_extensions import Unpack

from handkit import __version__
from handkit.errors import HandkitError
from handkit.files import atomic_path, check_writable
from handkit.hand.model import load_hand
from handkit.methods.s2hand_loss import STAGE_TERMS
from handkit.methods.s2hand_recipe import S2HandRecipe, term_weights
from handkit.nets.s2hand_system import S2HandSystem
from handkit.recipe import load_recipe, recipe_toml
from handkit.runs.result import RunOptions
from handkit.runs.s2hand import begun_network, learns_keypoints, new_network
from handkit.runs.s2hand_data import GatheredData, gather_data
from handkit.runs.s2hand_overfit import Overfit, Samples
from handkit.runs.s2hand_search_plan import (
    ORDER,
    Try,
    Weights,
    refine_groups,
    tidy,
    vary_weights,
    walk_weights,
)
from handkit.runs.s2hand_search_result import FOLDER, SearchResult
from handkit.runs.s2hand_search_tables import write_tables
from handkit.runs.s2hand_trials import TRIALS, Trials
from handkit.train import seed_all
from handkit.train.place import launch
from handkit.train.signals import sigint_noted

BEST: Final = "best.toml"


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """What is searched: the weights of the stage `together`, "images" or "video", from `init` or untrained networks."""

    together: str
    init: Path | None = None
    dry_run: bool = False


def search_weights(
    out: Path,
    asked: SearchOptions,
    *,
    recipe: str = "s2hand",
    changes: Sequence[str] = (),
    say: Callable[[str], None] = lambda _: None,
    **options: Unpack[RunOptions],
) -> SearchResult:
    """Gather the data, then search, or go on with the search that `out` holds; with `force` anew.

    `say` is told of every trial made. Raises HandkitError for too few hands, a term that all others count from and is
    off, and networks that cannot be trained so.
    """
    settings = load_recipe(S2HandRecipe, recipe, changes)
    bases, weights, unit = searched_terms(settings, asked.together)
    if torch.distributed.is_torchelastic_launched():
        raise HandkitError("a search is made by one process", "leave torchrun out")
    data = gather_data(out, settings, show_progress=options.get("show_progress", False))
    result = SearchResult(out, asked.together, settings, data, tuple(bases), weights, asked.dry_run)
    if asked.together == "video":
        data = data.with_windows(settings.data)
    if asked.dry_run:
        return result
    check_writable(out / FOLDER)
    if options.get("force", False):
        (out / FOLDER / TRIALS).unlink(missing_ok=True)
    fabric = launch(options.get("device", "auto"), settings.train.precision)
    start, digest = _start(out, settings, asked)
    with sigint_noted() as stopped:
        overfit = Overfit(
            settings=settings,
            stage=asked.together,
            hand=load_hand(settings.hand, "right"),
            landmarks=data.landmarks,
            start=start,
            held_out=data.held_out(settings, settings.search.batch, windows=asked.together == "video"),
            fabric=fabric,
            stopped=stopped,
            bases=bases,
            unit=unit,
        )
        result.trials = Trials(out / FOLDER, overfit, _decisive(settings, asked, data, result.terms, digest), say)
        result.interrupted = True
        with suppress(KeyboardInterrupt):
            _run_phases(result, overfit)
            result.interrupted = False
    result.factors = {term: factor for term, factor in overfit.factors(result.weights).items() if term in bases}
    _write(result)
    return result


def searched_terms(settings: S2HandRecipe, stage: str) -> tuple[Weights, Weights, float]:
    """The terms that the recipe has, with their weights of factor 1; the recipe's weights; and what a weight of 1 is.

    Raises HandkitError where E_loc, from which weights count, is off.
    """
    frames = settings.data.frames if stage == "video" else 1
    plain = term_weights(settings.loss.model_copy(update={"factors": {}}), frames)
    own = term_weights(settings.loss, frames)
    taken = set(STAGE_TERMS[stage]) - set(settings.stage(stage).without)
    if not learns_keypoints(settings):
        taken -= {"estimated", "consistency"}
    if not any(own[term] > 0 for term in ("pixel", "ssim") if term in taken):
        taken -= {"texture", "texture_shape"}  # a texture that nothing looks at is not learned
    terms = [term for term in ORDER if term in taken and own[term] > 0]
    if "location" not in terms:
        raise HandkitError("weights count from that of E_loc, which is off", "give loss.weights.w_geo more than 0")
    unit = own["location"]
    return {term: plain[term] for term in terms}, {term: tidy(own[term] / unit) for term in terms}, unit


def _run_phases(result: SearchResult, overfit: Overfit) -> None:
    """All phases of the recipe; what they find is in the result as soon as they do."""
    data, settings, trials = result.data, result.settings, result.trials
    search, windows = settings.search, overfit.stage == "video"
    assert trials is not None
    samples = Samples(data, settings, count=search.samples, windows=windows).to(overfit.fabric)
    result.has_truth = samples.has_truth

    def attempt(phase: str) -> Try:
        return lambda weights, told: trials.attempt(weights, f"{phase}: {told}", samples)

    if "initial" in search.phases:
        known: dict[str, Any] = {"fallback": dict(result.weights), "step": search.step, "most": search.most_steps}
        for walk in walk_weights(attempt("initial"), result.terms, **known):
            result.walks.append(walk)
            result.weights = walk.weights
    if "refinement" in search.phases:
        for grid in refine_groups(attempt("refinement"), result.weights, search.candidates):
            result.grids.append(grid)
            result.weights = grid.best[0]
    if "sensitivity" in search.phases:
        if search.sensitivity_samples is not None:
            samples = Samples(data, settings, count=search.sensitivity_samples, windows=windows).to(overfit.fabric)
        measured = partial(trials.attempt, samples=samples, on_held_out=True)
        for row in vary_weights(result.weights, search.sensitivity):
            told = f"sensitivity: {' '.join(row.terms) or 'selected'} x {row.factor:g}"
            result.variations.append((row, measured(row.weights, told)))


def _start(out: Path, settings: S2HandRecipe, asked: SearchOptions) -> tuple[S2HandSystem, Any]:
    """The networks that every trial begins with, and what they come from."""
    seed_all(settings.train.seed)
    if asked.init is not None:
        return begun_network(out, asked.together, settings, asked.init)
    network, given = new_network(settings), settings.network.backbone_weights
    digest = None if given is None else hashlib.sha256(Path(given).expanduser().read_bytes()).hexdigest()
    return network, digest


def _decisive(
    settings: S2HandRecipe, asked: SearchOptions, data: GatheredData, terms: Sequence[str], digest: Any
) -> list[Any]:
    """All that decides a trial beside its weights, its samples and how it is trained."""
    return [
        __version__,
        asked.together,
        digest,
        data.key,
        data.landmarks,
        settings.hand,
        settings.network.model_dump(mode="json", exclude={"backbone_weights"}),
        settings.keypoints and settings.keypoints.model_dump(mode="json"),
        [settings.data.supervision, settings.data.frames, settings.data.interval, settings.data.crop.box_scale],
        settings.loss.model_dump(mode="json", exclude={"weights", "factors"}),
        [settings.search.batch, list(terms)],
    ]


def _write(result: SearchResult) -> None:
    """The tables, and after all phases the recipe with the weights that were found."""
    changed = {"initial", "refinement"} & set(result.settings.search.phases)
    if changed and not result.interrupted:
        result.best = result.out / FOLDER / BEST
        loss = result.settings.loss.model_copy(update={"factors": {**result.settings.loss.factors, **result.factors}})
        with atomic_path(result.best) as partial_path:
            text = recipe_toml(result.settings.model_copy(update={"loss": loss}))
            partial_path.write_text(text, encoding="utf-8")
    write_tables(result)
