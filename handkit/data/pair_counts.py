"""What gathering pairs of views found and what it left out, counted."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from handkit.errors import HandkitError

# Of pictures (a video that is damaged counts once), of pairs of pictures, and of hands.
FAILED, UNPAIRED = "failed", "without a partner"
NO_HAND, NO_LEFT, NO_RIGHT = "no hand in either view", "no hand in the left view", "no hand in the right view"
ONE_VIEW, NO_MATCH, OUTSIDE = "seen by one camera only", "no match", "outside the picture"
REASONS: Final = (FAILED, UNPAIRED, NO_HAND, NO_LEFT, NO_RIGHT, ONE_VIEW, NO_MATCH, OUTSIDE)


@dataclass(eq=False)
class PairCounts:
    """Pairs of pictures, the hands found in either view of them, hands of both that are learned from, and the rest.

    Of `left_out`, "seen by one camera only" counts hands that one view of a pair of pictures shows beyond those of the
    other; "no match" hands for which the other view shows one, but elsewhere; "outside the picture" those of both
    whose middle one view does not show. So `found_left` + `found_right` is twice the hands usable, without a match and
    outside, and once those of one camera. `errors` are reported anew each time.
    """

    pictures: int = 0
    found_left: int = 0
    found_right: int = 0
    usable: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    errors: list[HandkitError] = field(default_factory=list)

    def add_pictures(self, left: int, right: int) -> None:
        """Count a pair of pictures that show so many hands; those that match are still to be taken from "no match"."""
        self.pictures += 1
        self.found_left += left
        self.found_right += right
        self.left_out[ONE_VIEW] += abs(left - right)
        self.left_out[NO_MATCH] += min(left, right)
        if not (left and right):
            self.left_out[NO_LEFT if right else NO_RIGHT if left else NO_HAND] += 1

    def to_card(self) -> dict[str, Any]:
        """Plain values for a file's card."""
        errors = [[error.what, error.fix] for error in self.errors]
        return {**vars(self), "left_out": dict(self.left_out), "errors": errors}

    @classmethod
    def from_card(cls, card: Mapping[str, Any]) -> "PairCounts":
        """What `to_card` gave."""
        errors = [HandkitError(what, fix) for what, fix in card["errors"]]
        return cls(**{**card, "left_out": Counter(card["left_out"]), "errors": errors})

    def to_json(self) -> dict[str, Any]:
        """For `--json`: every reason named, also those that took nothing."""
        known = {"pictures": self.pictures, "found_left": self.found_left, "found_right": self.found_right}
        return {**known, "usable": self.usable, "left_out": {why: self.left_out[why] for why in REASONS}}

    def words(self) -> str:
        """In one line: "9 pairs of pictures, 8 and 7 hands found, 7 of both usable (1 seen by one camera only)"."""
        reasons = ", ".join(f"{self.left_out[why]} {why}" for why in REASONS if self.left_out[why])
        told = (
            f"{self.pictures} pairs of pictures, {self.found_left} and {self.found_right} hands found, "
            f"{self.usable} of both usable"
        )
        return f"{told} ({reasons})" if reasons else told
