"""`handkit evaluate`: files to scores, scores to a report."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from handkit.data.hands import HandSet
from handkit.errors import HandkitError
from handkit.evaluate.beside import with_own
from handkit.evaluate.compare import compare_methods
from handkit.evaluate.definitions import wrist_from_palm
from handkit.evaluate.exclusion import kept_rows, with_exclusions
from handkit.evaluate.files import find_files, read_hands, with_images
from handkit.evaluate.matching import ReadHands, match, take
from handkit.evaluate.options import SEGMENTERS, EvaluateOptions
from handkit.evaluate.protocols import PROTOCOLS, Protocol, Thresholds, adapted, summary_keys
from handkit.evaluate.score import score
from handkit.evaluate.scores import Scores
from handkit.evaluate.submit import submit, submit_alone
from handkit.evaluate.unlabelled import gather_unlabelled, score_unlabelled
from handkit.files import check_writable

if TYPE_CHECKING:
    from handkit.data.annotations import AnnotatedDataset

logger = logging.getLogger(__name__)

FAILED: Final = 1
_HIGHER_IS_BETTER: Final = ("auc", "f_score", "mask_iou", "accuracy")


@dataclass(frozen=True, eq=False)
class EvaluateResult:
    """Scores by method, their differences, the files written, and the requirements that were missed, in words."""

    out: Path
    protocol: Protocol
    scores: list[Scores] = field(default_factory=list)
    comparison: list[dict[str, Any]] = field(default_factory=list)
    written: list[Path] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 done, 1 a requirement was missed."""
        return FAILED if self.missed else 0

    def summary(self) -> dict[str, Any]:
        """What metrics.json holds: one method's flat object; several by name, with their differences."""
        if len(self.scores) == 1:
            return dict(self.scores[0].summary)
        if not self.scores:
            return {"written": [str(path) for path in self.written]}
        methods = {scores.method: scores.summary for scores in self.scores}
        return {"protocol": self.protocol.name, "methods": methods, "comparison": self.comparison}


def run_evaluate(
    predictions: Mapping[str, Path],
    truth: Path | None,
    out: Path,
    options: EvaluateOptions,
    *,
    show_progress: bool = False,
    force: bool = False,
) -> EvaluateResult:
    """Score predictions by method name against truth and write the report; without truth write a submission alone.

    Files are looked at before the first is read; then the options' methods are run over their data set,
    `force` even where they were. Raises HandkitError for what cannot be read, matched or written.
    """
    protocol = chosen_protocol(options)
    _check_required(protocol, options)
    check_writable(out)
    if protocol.masks:
        return _score_masks(predictions, truth, out, protocol, options, show_progress=show_progress, force=force)
    for path in predictions.values():
        find_files(path, is_truth=False)
    dataset = _dataset(truth, protocol, options)
    true = _read_truth(truth, dataset, protocol, options)
    if dataset is not None and options.methods:
        from handkit.evaluate.sets import predict_methods

        made = predict_methods(dataset, out, options, show_progress=show_progress, force=force)
        predictions = {**predictions, **made}
    if not protocol.needs_truth:
        return _score_unlabelled(predictions, true, out, protocol, options)
    if true is None:
        return EvaluateResult(out, protocol, written=submit_alone(predictions, out, protocol, options))
    return _score(predictions, true, out, protocol, options)


def _score(
    predictions: Mapping[str, Path], true: ReadHands, out: Path, protocol: Protocol, options: EvaluateOptions
) -> EvaluateResult:
    """Every method against the truth."""
    if options.fps is not None and true.hands.sequences is None:
        logger.warning("--fps: %s has no sequences, accelerations are not scored", true.hands.source)
    sets: dict[str, HandSet] = {}
    scores: list[Scores] = []
    kept = kept_rows(true.hands, options.exclude)
    shown = true.hands if kept is None else take(true.hands, kept)
    written: list[Path] = []
    for method, path in predictions.items():
        wants_mesh = true.hands.vertices is not None or options.submission is not None
        read = read_hands(path, protocol, options.pred, is_truth=False, with_vertices=wants_mesh)
        matched = match(read, true)
        if matched.unused:
            logger.warning("%s: %d predictions have no truth and are not used", method, matched.unused)
        if options.submission is not None:
            written += submit(matched.pred, out, options.submission, method if len(predictions) > 1 else None)
        pred = matched.pred if kept is None else take(matched.pred, kept)
        result = score(
            protocol,
            pred,
            shown,
            method=method,
            missing=matched.missing,
            joint_order=read.joint_order,
            fps=options.fps,
        )
        if read.own is not None:
            rows = matched.rows if kept is None else matched.rows[kept]
            result = with_own(result, read.own, rows, shown, protocol)
        scores.append(with_exclusions(result, len(true.hands) - len(shown)))
        sets[method] = pred
    return _reported(out, protocol, scores, options, truth=shown, predictions=sets, written=written)


def _score_unlabelled(
    predictions: Mapping[str, Path], known: ReadHands | None, out: Path, protocol: Protocol, options: EvaluateOptions
) -> EvaluateResult:
    """Every method by itself, over the samples that all have."""
    reads = {
        method: read_hands(path, protocol, options.pred, is_truth=False, with_vertices=False)
        for method, path in predictions.items()
    }
    found = gather_unlabelled(reads, None if known is None else known.hands)
    kept = kept_rows(found.samples, options.exclude)
    shown = found.samples if kept is None else take(found.samples, kept)
    scores = []
    for method in reads:
        rows = found.rows[method] if kept is None else found.rows[method][kept]
        result = score_unlabelled(protocol, method, found.own[method], rows, shown, fps=options.fps)
        result = with_own(result, found.own[method], rows, shown, protocol)
        scores.append(with_exclusions(result, len(found.samples) - len(shown)))
    return _reported(out, protocol, scores, options, truth=shown, predictions={}, written=[])


def _score_masks(
    predictions: Mapping[str, Path],
    root: Path | None,
    out: Path,
    protocol: Protocol,
    options: EvaluateOptions,
    *,
    show_progress: bool,
    force: bool,
) -> EvaluateResult:
    """The options' segmenters over their data set."""
    dataset = _dataset(root, protocol, options)
    unknown = [name for name in options.methods if name not in SEGMENTERS]
    if unknown or predictions or dataset is None or not options.methods:
        given = f"--method {', '.join(unknown)}" if unknown else "files" if predictions else "no data set and methods"
        raise HandkitError(
            f"{given}: {protocol.name} is of segmenters over a data set",
            f"give --dataset, --data and --method {' or '.join(SEGMENTERS)} alone",
        )
    from handkit.evaluate.segmentation import score_segmentation

    scores, truth = score_segmentation(dataset, out, protocol, options, show_progress=show_progress, force=force)
    return _reported(out, protocol, scores, options, truth=truth, predictions={}, written=[])


def _reported(
    out: Path,
    protocol: Protocol,
    scores: list[Scores],
    options: EvaluateOptions,
    *,
    truth: HandSet,
    predictions: Mapping[str, HandSet],
    written: list[Path],
) -> EvaluateResult:
    """The scores compared, written down, and held against what was required."""
    from handkit.report import write_report

    comparison = compare_methods(scores) if len(scores) > 1 else []
    report = write_report(out, scores, truth=truth, predictions=predictions, comparison=comparison, latex=options.latex)
    missed = missed_requirements(scores, options.require)
    return EvaluateResult(out, protocol, scores, comparison, [*report, *written], missed)


def chosen_protocol(options: EvaluateOptions) -> Protocol:
    """The protocol with the options' changes; HandkitError where an official one would be changed."""
    protocol = PROTOCOLS[options.protocol]
    changes: dict[str, object] = {"--align": options.alignments, "--thresholds": options.thresholds}
    given = [name for name, value in changes.items() if value is not None]
    if not protocol.needs_truth or protocol.masks:
        changes |= {"--submission": options.submission, "--root-joint": options.root_joint}
        given = [name for name, value in changes.items() if value is not None]
        if given:
            words = "masks alone" if protocol.masks else "with no truth"
            raise HandkitError(f"{' and '.join(given)}: {protocol.name} compares {words}", "leave it out")
    if protocol.official and given:
        raise HandkitError(f"{' and '.join(given)} would change the official {protocol.name}", "use --protocol custom")
    if options.root_joint is not None and protocol.root_joint is None:
        raise HandkitError(f"--root-joint is of stb, not of {protocol.name}", "leave --root-joint out")
    thresholds = None if options.thresholds is None else Thresholds(*options.thresholds)
    return adapted(protocol, alignments=options.alignments, thresholds=thresholds, root_joint=options.root_joint)


def missed_requirements(scores: list[Scores], required: tuple[tuple[str, float], ...]) -> list[str]:
    """A sentence for every bound that a method does not keep: errors at most, AUC, F-scores and masks' at least."""
    missed = []
    for result in scores:
        for key, bound in required:
            value = result.summary.get(key)
            at_least = any(word in key for word in _HIGHER_IS_BETTER) or key == "count"
            if value is None or not (value >= bound if at_least else value <= bound):
                shown = "has no value" if value is None else f"is {value:.6g}"
                missed.append(f"{result.method}: {key} {shown}, required {'>=' if at_least else '<='} {bound:g}")
    return missed


def _check_required(protocol: Protocol, options: EvaluateOptions) -> None:
    known = summary_keys(protocol)
    unknown = [key for key, _ in options.require if key not in known]
    if unknown:
        what = f"--require {', '.join(unknown)}: {protocol.name} has no such key"
        raise HandkitError(what, f"keys are {', '.join(known)}")


def _dataset(truth: Path | None, protocol: Protocol, options: EvaluateOptions) -> "AnnotatedDataset | None":
    """The data set that is named, whose root is `data`, else the truth."""
    root = options.data or truth
    if options.dataset is None or root is None:
        return None
    from handkit.evaluate.sets import open_dataset

    return open_dataset(options.dataset, root, protocol, options)


def _read_truth(
    path: Path | None, dataset: "AnnotatedDataset | None", protocol: Protocol, options: EvaluateOptions
) -> ReadHands | None:
    """From the data set, or from a file where one is given beside it; None where there is none and none is needed."""
    images = options.images
    if dataset is not None and (options.data is None or path is None):
        from handkit.evaluate.sets import truth_of

        hands = truth_of(dataset, options, needed=protocol.needs_truth)
        if hands is None:
            return None
        true = ReadHands(hands, named=True)
    elif path is None:
        return None
    else:
        true = read_hands(path, protocol, options.truth, is_truth=True)
        if protocol.root_joint is not None and true.hands.joints is not None:
            joints = wrist_from_palm(true.hands.joints, protocol.root_joint)
            true = replace(true, hands=replace(true.hands, joints=joints))
        if images is None and options.data is not None and options.data.is_dir():
            images = options.data
    return with_images(true, images)
