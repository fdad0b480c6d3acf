"""A method's hands with what handkit's own files hold of them: parameters, looks, and where a 2D estimator sees them.

Convention: a folder holds `hands.npz`, and beside it, row by row, `appearance.npz` and `keypoints.npz` where there are.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Self, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Int

from handkit.errors import HandkitError
from handkit.export.appearance import Appearance, join_appearances, load_appearance, save_appearance
from handkit.export.keypoints import load_seen, save_seen
from handkit.export.predictions import Predictions, concatenate, load_finite_rows, save_predictions
from handkit.inference.keypoints import SeenKeypoints, join_keypoints

logger = logging.getLogger(__name__)

HANDS: Final = "hands.npz"
APPEARANCE: Final = "appearance.npz"
KEYPOINTS: Final = "keypoints.npz"
_Beside = TypeVar("_Beside", Appearance, SeenKeypoints)


@dataclass(frozen=True, eq=False)
class OwnRows:
    """N hands of one or more hands.npz, and what stands beside them row by row; None where it does not."""

    hands: Predictions
    appearance: Appearance | None = None
    estimated: SeenKeypoints | None = None

    def __len__(self) -> int:
        return len(self.hands)

    def rows(self, index: Int[np.ndarray, " M"] | Bool[np.ndarray, " N"]) -> Self:
        """The hands that a mask or indices pick."""
        return replace(
            self,
            hands=self.hands.rows(index),
            appearance=None if self.appearance is None else self.appearance.rows(index),
            estimated=None if self.estimated is None else _of(self.estimated, index),
        )


def rotations_of(hands: Predictions) -> Float[np.ndarray, "N 16 3"]:
    """The hand's own rotation in the camera, then its 15 joints', axis-angle."""
    return np.concatenate([hands.global_orient[:, None], hands.hand_pose.reshape(len(hands), 15, 3)], axis=1)


def read_own(files: Sequence[Path]) -> OwnRows:
    """Files of hands with what lies beside them, joined; hands with numbers that are not finite are left out.

    What lies beside only some of the files is not used. Raises HandkitError for what is damaged or of another length.
    """
    return join_own([_read(file) for file in files])


def join_own(parts: Sequence[OwnRows]) -> OwnRows:
    """All hands and inputs, in order, with what all parts that have hands have beside them."""
    some = [part for part in parts if len(part)] or parts[:1]
    return OwnRows(
        concatenate([part.hands for part in parts]) if len(parts) > 1 else parts[0].hands,
        _joined([part.appearance for part in some], join_appearances, APPEARANCE),
        _joined([part.estimated for part in some], join_keypoints, KEYPOINTS),
    )


def save_own(folder: Path, own: OwnRows) -> Path:
    """Write the files into a folder, hands.npz, which is given back, last; what an earlier run left beside it goes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / HANDS).unlink(missing_ok=True)
    for name in (APPEARANCE, KEYPOINTS):
        (folder / name).unlink(missing_ok=True)
    if own.appearance is not None:
        save_appearance(folder / APPEARANCE, own.appearance)
    if own.estimated is not None:
        save_seen(folder / KEYPOINTS, own.estimated)
    save_predictions(folder / HANDS, own.hands)
    return folder / HANDS


def _read(file: Path) -> OwnRows:
    hands, bad = load_finite_rows(file)
    if bad:
        logger.warning("%s: %d hands are left out, they hold numbers that are not finite", file, len(bad))
    appearance = load_appearance(file.with_name(APPEARANCE)) if file.with_name(APPEARANCE).is_file() else None
    seen = load_seen(file.with_name(KEYPOINTS)) if file.with_name(KEYPOINTS).is_file() else None
    count = len(hands) + len(bad)
    for name, beside in ((APPEARANCE, appearance), (KEYPOINTS, None if seen is None else seen.points)):
        if beside is not None and len(beside) != count:
            what = f"{file.with_name(name)} has {len(beside)} hands, {file.name} {count}"
            raise HandkitError(what, "make both again by one run, or take the former away")
    kept = np.setdiff1d(np.arange(count), list(bad))
    appearance = None if appearance is None else appearance.rows(kept)
    return OwnRows(hands, appearance, None if seen is None else _of(seen, kept))


def _joined(parts: Sequence[_Beside | None], join: Callable[[Sequence[_Beside]], _Beside], name: str) -> _Beside | None:
    there = [part for part in parts if part is not None]
    if there and len(there) < len(parts):
        logger.warning("%d of %d files of hands have %s beside them: it is not used", len(there), len(parts), name)
    return join(there) if len(there) == len(parts) else None


def _of(seen: SeenKeypoints, index: np.ndarray) -> SeenKeypoints:
    return SeenKeypoints(seen.points[index], seen.scores[index])
