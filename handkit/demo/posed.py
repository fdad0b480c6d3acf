"""Posed hands: their rows, and what they look like where the method says so."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from handkit.demo.hands import join_rows
from handkit.export.appearance import Appearance, join_appearances
from handkit.export.predictions import Predictions


@dataclass(frozen=True, eq=False)
class Posed:
    """Rows of hands.npz and, row by row, their appearance; None where the method gives none."""

    rows: Predictions
    appearance: Appearance | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def pick(self, index: np.ndarray) -> "Posed":
        """The hands that a mask or indices pick."""
        return Posed(self.rows.rows(index), None if self.appearance is None else self.appearance.rows(index))


def join_posed(parts: Sequence[Posed], *, has_appearance: bool) -> Posed:
    """All hands, in order; no parts give no hands. With `has_appearance` all parts have one."""
    looks = [part.appearance for part in parts if part.appearance is not None]
    return Posed(join_rows([part.rows for part in parts]), join_appearances(looks) if has_appearance else None)
