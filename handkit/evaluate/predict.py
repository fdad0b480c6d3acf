"""A method over a data set: `hands.npz`, a row for every sample in which a hand was found, `image` its name.

Convention: rows are in the sample's camera frame, metres and pixels; `inputs` are all samples' names and `status` says
"done", "no hand" or why a sample failed. Batches are kept in a hidden folder until the file is written, so that a run
that was killed goes on where it was, and writes the same file.
"""

import hashlib
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
from tqdm import tqdm

from handkit import __version__
from handkit.data.annotations import AnnotatedDataset
from handkit.data.hands import HandSet
from handkit.data.sample import HandSample
from handkit.demo.hands import HandPair, Sighting, fit_stills, is_fittable, join_rows
from handkit.demo.options import stamp_of
from handkit.errors import HandkitError
from handkit.evaluate.finders import METHODS, Finder, Found, build_finder
from handkit.export.predictions import Predictions, concatenate, load_predictions, save_predictions
from handkit.files import atomic_path, check_writable
from handkit.geometry.cameras import default_K

logger = logging.getLogger(__name__)

HANDS: Final = "hands.npz"
RECORD: Final = "predict.json"
DONE: Final = "done"
NO_HAND: Final = "no hand"
_PARTS: Final = ".predict.parts"


def predict(
    dataset: AnnotatedDataset,
    out: Path,
    *,
    method: str = "fit",
    batch_size: int = 64,
    hand: str = "open",
    show_progress: bool = False,
    force: bool = False,
) -> Path:
    """Run `method`, one of `METHODS`, over all samples into `out`/hands.npz; predict.json says what was found.

    What the same run wrote before is kept unless `force`. `hand` names the hand model. Progress goes to stderr where
    that is a terminal. A sample that cannot be read is warned of and does not stop the others.
    Raises HandkitError for an unknown method, for no samples, and where `out` cannot be written.
    """
    if method not in METHODS:
        raise HandkitError(f"there is no method {method!r}", f"methods are {', '.join(METHODS)}")
    if batch_size < 1 or not len(dataset):
        raise HandkitError(f"{len(dataset)} samples in batches of {batch_size}", "there should be one at least of each")
    check_writable(out)
    job = _Job(dataset, method, hand, batch_size)
    path, parts = out / HANDS, out / _PARTS
    key = job.fingerprint()
    if not force and path.is_file() and _recorded_key(out) == key:
        return path
    if force:
        shutil.rmtree(parts, ignore_errors=True)
    pieces = [parts / f"{key}_{first:08d}.npz" for first in range(0, len(dataset), batch_size)]
    job.make(pieces, show_progress=show_progress)
    found = concatenate([load_predictions(piece) for piece in pieces])
    (out / RECORD).unlink(missing_ok=True)
    save_predictions(path, found)
    _write_record(out, key, job, found)
    shutil.rmtree(parts, ignore_errors=True)
    return path


@dataclass(frozen=True, eq=False)
class _Read:
    """A sample without its picture: what was found in it, or why not."""

    name: str
    status: str
    sighting: Sighting | None = None
    landmarks: str = ""
    camera: str = ""


class _Job:
    """A method over a data set in batches; networks and hand models are loaded when the first batch is made."""

    def __init__(self, dataset: AnnotatedDataset, method: str, hand: str, batch_size: int) -> None:
        self.dataset, self.method, self.hand, self._batch_size = dataset, method, hand, batch_size
        try:
            self._truth: HandSet | None = dataset.truth()
        except HandkitError:  # nothing to score with, but pictures
            self._truth = None

    def fingerprint(self) -> str:
        """Changes whenever the rows could: names, pictures, cameras, method, hand model, handkit's version."""
        words = [__version__, type(self.dataset).__name__, len(self.dataset), self._batch_size]
        words += [self.method, self.hand, _stamp(Path(self.hand)), getattr(self.dataset, "settings", None)]
        digest = hashlib.sha256(orjson.dumps(words, default=str))
        if self._truth is not None:
            pictures = dict.fromkeys(self._truth.images or ())
            digest.update(orjson.dumps([self._truth.ids, [_stamp(path) for path in pictures]]))
            digest.update(b"" if self._truth.K is None else np.asarray(self._truth.K, np.float64).tobytes())
        return digest.hexdigest()[:16]

    def make(self, pieces: Sequence[Path], *, show_progress: bool) -> None:
        """Make the pieces that are not there yet; what is left of other runs is dropped."""
        wanted = {piece.name for piece in pieces}
        for piece in pieces[0].parent.glob("*.npz"):
            if piece.name not in wanted:
                piece.unlink(missing_ok=True)
        hands = HandPair(self.hand)
        finder: Finder = build_finder(self.method, sides_known=getattr(self.dataset, "sides_known", True))
        hidden = None if show_progress else True  # None: hidden unless stderr is a terminal
        try:
            with tqdm(total=len(self.dataset), desc=f"predict {self.method}", unit="", disable=hidden) as bar:
                for number, piece in enumerate(pieces):
                    first = number * self._batch_size
                    chosen = range(first, min(first + self._batch_size, len(self.dataset)))
                    if _is_whole(piece, len(chosen)):
                        bar.update(len(chosen))
                    else:
                        save_predictions(piece, self._batch(chosen, finder, hands, bar))
        finally:
            finder.close()

    def _batch(self, chosen: range, finder: Finder, hands: HandPair, bar: Any) -> Predictions:
        read = []
        for index in chosen:
            read.append(self._look(index, finder))
            bar.update(1)
        parts = []
        for landmarks in sorted({one.landmarks for one in read if one.sighting is not None}):
            sightings = [one.sighting for one in read if one.sighting is not None and one.landmarks == landmarks]
            parts.append(fit_stills(sightings, hands, landmarks))
        rows = join_rows(parts)
        return replace(
            rows.rows(np.argsort(rows.frame, kind="stable")),
            inputs=[one.name for one in read],
            status=[one.status for one in read],
            hand_model=self.hand,
            method=METHODS[self.method].words,
            camera_source="; ".join(dict.fromkeys(one.camera for one in read if one.camera)),
        )

    def _look(self, index: int, finder: Finder) -> _Read:
        """Look for the hand of one sample; its picture is let go of."""
        try:
            sample = self.dataset[index]
            found: Found | None = finder.find(sample)
        except HandkitError as error:
            name = str(index) if self._truth is None else self._truth.ids[index]
            logger.warning("%s: %s", name, error.what)
            return _Read(name, f"failed: {error.what}")
        if found is None or not is_fittable(found.hand):
            return _Read(sample["name"], NO_HAND)
        height, width = sample["image"].shape[1:]
        K, camera = _camera(sample)
        sighting = Sighting(found.hand, sample["name"], (width, height), K, frame=index)
        return _Read(sample["name"], DONE, sighting, found.landmarks, camera)


def _camera(sample: HandSample) -> tuple[np.ndarray, str]:
    """K [3, 3] and where it comes from."""
    if sample["K_valid"]:
        return sample["K"].astype(np.float64), "data set"
    height, width = sample["image"].shape[1:]
    return default_K(width, height).numpy(), "default field of view"


def _stamp(path: Path | None) -> list[int] | None:
    return stamp_of(path) if path is not None and path.is_file() else None


def _is_whole(piece: Path, count: int) -> bool:
    if not piece.is_file():
        return False
    try:
        return len(load_predictions(piece).inputs) == count
    except HandkitError:
        return False


def _recorded_key(out: Path) -> str | None:
    try:
        return str(orjson.loads((out / RECORD).read_bytes())["key"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_record(out: Path, key: str, job: _Job, found: Predictions) -> None:
    status = [str(word) for word in found.status]
    counts = {
        "samples": len(status),
        "found": status.count(DONE),
        "no_hand": status.count(NO_HAND),
        "failed": sum(word not in (DONE, NO_HAND) for word in status),
    }
    if counts["found"] < counts["samples"]:
        logger.warning("no hand in %(no_hand)d of %(samples)d samples, %(failed)d failed", counts)
    record = {"key": key, "method": job.method, "hand_model": job.hand, "camera": found.camera_source, **counts}
    with atomic_path(out / RECORD) as partial:
        partial.write_bytes(orjson.dumps(record, option=orjson.OPT_INDENT_2))
