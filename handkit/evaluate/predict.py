"""A method over a data set: `hands.npz`, a row for every sample in which a hand was found, `image` its name.

"s2hand" leaves `appearance.npz` and, where it has a 2D estimator, `keypoints.npz` beside it, row by row; rows of
"binocular" hold the meshes themselves.

Convention: rows are in the sample's camera frame, metres and pixels; `inputs` are all samples' names and `status` says
"done", "no hand" or why a sample failed. Batches are kept in a hidden folder until the file is written, so that a run
that was killed goes on where it was, and writes the same file.
"""

import hashlib
import logging
import shutil
from pathlib import Path
from typing import Final

import numpy as np
import orjson
from tqdm import tqdm

from handkit import __version__
from handkit.data.annotations import AnnotatedDataset
from handkit.data.hands import HandSet
from handkit.demo.options import stamp_of
from handkit.errors import HandkitError
from handkit.evaluate.binocular import BinocularEngine
from handkit.evaluate.engine import DONE, NO_HAND, Engine
from handkit.evaluate.finders import FINDERS
from handkit.evaluate.fitted import FitEngine
from handkit.evaluate.handnet import HandNetEngine, HandNetGivenEngine, HandNetImageEngine
from handkit.evaluate.looking import LookingEngine
from handkit.evaluate.network import NetworkEngine
from handkit.evaluate.rows import HANDS, join_own, read_own, save_own
from handkit.evaluate.s2hand import S2HandEngine
from handkit.export.predictions import Predictions
from handkit.files import atomic_path, check_writable
from handkit.inference.load import find_checkpoint

logger = logging.getLogger(__name__)

NETWORKS: Final[dict[str, type[LookingEngine]]] = {
    "seqhand": NetworkEngine,
    "s2hand": S2HandEngine,
    "handnet": HandNetEngine,
    "handnet-image": HandNetImageEngine,
    "handnet-given": HandNetGivenEngine,
    "binocular": BinocularEngine,
}
METHODS: Final = (*FINDERS, *NETWORKS)
RECORD: Final = "predict.json"
_PARTS: Final = ".predict.parts"


def predict(
    dataset: AnnotatedDataset,
    out: Path,
    *,
    method: str = "fit",
    checkpoint: Path | None = None,
    batch_size: int = 64,
    hand: str = "open",
    device: str = "auto",
    show_progress: bool = False,
    force: bool = False,
) -> Path:
    """Run `method`, one of `METHODS`, over all samples into `out`/hands.npz; predict.json says what was found.

    `NETWORKS` are those of `checkpoint` (the shipped one unless told) on `device`; the others fit in batches of
    `batch_size`. What the same run wrote before is kept unless `force`. `hand` names the hand model.
    Progress goes to stderr where that is a terminal. A sample that cannot be read is warned of and does not stop the
    others. Raises HandkitError for an unknown method, for no samples, and where `out` cannot be written.
    """
    if method not in METHODS:
        raise HandkitError(f"there is no method {method!r}", f"methods are {', '.join(METHODS)}")
    if batch_size < 1 or not len(dataset):
        raise HandkitError(f"{len(dataset)} samples in batches of {batch_size}", "there should be one at least of each")
    check_writable(out)
    try:
        truth: HandSet | None = dataset.truth()
    except HandkitError:  # nothing to score with, but pictures
        truth = None
    engine: Engine
    if method in NETWORKS:
        kind = NETWORKS[method]
        found = find_checkpoint(checkpoint, kind.weights)
        engine = kind(dataset, truth, checkpoint=found, hand=hand, device=device)
    else:
        engine = FitEngine(dataset, truth, method=method, hand=hand, batch_size=batch_size)
    key = _fingerprint(dataset, truth, [batch_size, method, hand, _stamp(Path(hand))], engine)
    path, parts = out / HANDS, out / _PARTS
    if not force and path.is_file() and _recorded_key(out) == key:
        return path
    if force:
        shutil.rmtree(parts, ignore_errors=True)
    chosen = {parts / f"{key}_{piece.start:08d}": piece for piece in engine.pieces()}
    _make(chosen, engine, title=f"predict {method}", show_progress=show_progress)
    rows = join_own([read_own([piece / HANDS]) for piece in chosen])
    (out / RECORD).unlink(missing_ok=True)
    save_own(out, rows)
    _write_record(out, {"key": key, "method": method, "hand_model": hand}, rows.hands)
    shutil.rmtree(parts, ignore_errors=True)
    return path


def _fingerprint(dataset: AnnotatedDataset, truth: HandSet | None, asked: list[object], engine: Engine) -> str:
    """Changes whenever the rows could: names, pictures, cameras, method, hand model, handkit's version."""
    words = [__version__, type(dataset).__name__, len(dataset), *asked, getattr(dataset, "settings", None), *engine.key]
    digest = hashlib.sha256(orjson.dumps(words, default=str))
    if truth is not None:
        pictures = dict.fromkeys(truth.images or ())
        digest.update(orjson.dumps([truth.ids, [_stamp(path) for path in pictures]]))
        digest.update(b"" if truth.K is None else np.asarray(truth.K, np.float64).tobytes())
    return digest.hexdigest()[:16]


def _make(chosen: dict[Path, range], engine: Engine, *, title: str, show_progress: bool) -> None:
    """Make the pieces that are not there yet; what is left of other runs is dropped."""
    wanted = {piece.name for piece in chosen}
    for piece in next(iter(chosen)).parent.glob("*"):
        if piece.name not in wanted:
            shutil.rmtree(piece, ignore_errors=True)
    hidden = None if show_progress else True  # None: hidden unless stderr is a terminal
    count = sum(map(len, chosen.values()))
    try:
        with tqdm(total=count, desc=title, unit="", disable=hidden) as bar:
            for piece, rows in chosen.items():
                if _is_whole(piece, len(rows)):
                    bar.update(len(rows))
                else:
                    save_own(piece, engine.predict(rows, lambda: bar.update(1)))
    finally:
        engine.close()


def _stamp(path: Path | None) -> list[int] | None:
    return stamp_of(path) if path is not None and path.is_file() else None


def _is_whole(piece: Path, count: int) -> bool:
    if not (piece / HANDS).is_file():
        return False
    try:
        return len(read_own([piece / HANDS]).hands.inputs) == count
    except HandkitError:
        return False


def _recorded_key(out: Path) -> str | None:
    try:
        return str(orjson.loads((out / RECORD).read_bytes())["key"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_record(out: Path, run: dict[str, str], hands: Predictions) -> None:
    status = [str(word) for word in hands.status]
    counts = {
        "samples": len(status),
        "found": status.count(DONE),
        "no_hand": status.count(NO_HAND),
        "failed": sum(word not in (DONE, NO_HAND) for word in status),
    }
    if counts["found"] < counts["samples"]:
        logger.warning("no hand in %(no_hand)d of %(samples)d samples, %(failed)d failed", counts)
    record = {**run, "words": hands.method, "camera": hands.camera_source, **counts}
    with atomic_path(out / RECORD) as partial:
        partial.write_bytes(orjson.dumps(record, option=orjson.OPT_INDENT_2))
