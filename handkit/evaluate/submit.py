"""The servers' files as a side of `evaluate`, with or without a truth to score against."""

import logging
from collections.abc import Mapping
from pathlib import Path

from handkit.data.hands import HandSet
from handkit.errors import HandkitError
from handkit.evaluate.files import read_hands
from handkit.evaluate.matching import match_names, take
from handkit.evaluate.official import write_submission
from handkit.evaluate.options import EvaluateOptions
from handkit.evaluate.protocols import Protocol

logger = logging.getLogger(__name__)


def submit_alone(
    predictions: Mapping[str, Path], out: Path, protocol: Protocol, options: EvaluateOptions
) -> list[Path]:
    """Predictions in the order of their file, or of their names where they have some."""
    if options.submission is None:
        raise HandkitError("there is no truth to score against", "give --gt, or --submission to write a server's file")
    written: list[Path] = []
    for method, path in predictions.items():
        read = read_hands(path, protocol, options.pred, is_truth=False)
        hands = read.hands
        if read.named:
            order = sorted(set(hands.ids))
            hands = take(hands, match_names(hands.ids, order, read.confidence))
        written += submit(hands, out, options.submission, method if len(predictions) > 1 else None)
    return written


def submit(hands: HandSet, out: Path, server: str, method: str | None) -> list[Path]:
    """One method's file, in a folder of its name where it has one."""
    if hands.vertices is None:
        logger.warning("%s has no vertices: the submission's are zeros, its mesh scores mean nothing", hands.source)
    return write_submission(out if method is None else out / method, hands, server)
