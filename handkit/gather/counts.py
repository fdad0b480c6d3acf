"""What gathering found and what it left out, counted."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from handkit.errors import HandkitError

# Why pictures (the first two; a video that cannot be read counts once) and hands (the others) are left out.
NO_HAND, FAILED = "no hand", "failed"
OTHER_HAND, OUTSIDE, SHORT, JUMPS = "other hand", "outside the picture", "short track", "hand jumps"
REASONS: Final = (NO_HAND, FAILED, OTHER_HAND, OUTSIDE, SHORT, JUMPS)


@dataclass(eq=False)
class Counts:
    """Pictures or frames read, hands found in them, and what was left out by why; `errors` are reported anew each time.

    "other hand" is one of the side that was not asked for, or beyond the number asked for; "short track" one seen in
    fewer than three frames of a video; "hand jumps" one on a piece between jumps that is shorter than three frames.
    """

    pictures: int = 0
    found: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    errors: list[HandkitError] = field(default_factory=list)

    @property
    def usable(self) -> int:
        """Hands that are learned from."""
        return self.found - sum(self.left_out[why] for why in REASONS[2:])

    def fail(self, error: HandkitError) -> None:
        """Count a picture, or a video, that cannot be used."""
        self.left_out[FAILED] += 1
        self.errors.append(error)

    def add(self, other: "Counts") -> None:
        """Add those of a part."""
        self.pictures += other.pictures
        self.found += other.found
        self.left_out.update(other.left_out)
        self.errors += other.errors

    def to_card(self) -> dict[str, Any]:
        """Plain values for a file's card."""
        errors = [[error.what, error.fix] for error in self.errors]
        return {"pictures": self.pictures, "found": self.found, "left_out": dict(self.left_out), "errors": errors}

    @classmethod
    def from_card(cls, card: Mapping[str, Any]) -> "Counts":
        """What `to_card` gave."""
        errors = [HandkitError(what, fix) for what, fix in card["errors"]]
        return cls(card["pictures"], card["found"], Counter(card["left_out"]), errors)

    def to_json(self) -> dict[str, Any]:
        """For `--json`: every reason named, also those that took nothing."""
        left_out = {why: self.left_out[why] for why in REASONS}
        return {"pictures": self.pictures, "found": self.found, "usable": self.usable, "left_out": left_out}

    def words(self) -> str:
        """In one line: "120 pictures, 100 hands found, 90 usable (20 no hand, 10 short track)"."""
        reasons = ", ".join(f"{self.left_out[why]} {why}" for why in REASONS if self.left_out[why])
        told = f"{self.pictures} pictures, {self.found} hands found, {self.usable} usable"
        return f"{told} ({reasons})" if reasons else told


def total(counts: Iterable[Counts]) -> Counts:
    """The sum."""
    added = Counts()
    for each in counts:
        added.add(each)
    return added
