"""What every `generate` run has in common: what it was asked for, its shards by number, and how one is made."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from handkit.synth.backgrounds import SUFFIXES, bundled_photos
from handkit.synth.sequence import Split
from handkit.synth.shards import ShardNote, shard_name, write_note, write_shard
from handkit.synth.statistics import Counts, add_counts

_OURS = "Apache-2.0 (handkit)"
# Settings that recipes gained after folders had been made without them; there they are as by default.
_GAINED: Final = ("skin", "background", "same_hand")


@dataclass(frozen=True, kw_only=True)
class ShardJob(ABC):
    """What all shards of a run share; small, so that it can be sent to workers.

    `sequences` counts what is drawn as one (`unit`): a sequence of frames, a pair of pictures. A maker has `hand` and
    `backgrounds`, and gives item after item by `annotate_many(indices)`.
    """

    kind: ClassVar[str]
    unit: ClassVar[str]
    # To be raised when the same recipe and seed come to give other files.
    generation: ClassVar[int] = 1

    out: Path
    recipe: BaseModel
    seed: int = 0
    split: Split = "train"
    sequences: int
    shard_size: int = 100
    backgrounds: Path | None = None
    hand_model: str = "open"

    @property
    @abstractmethod
    def frames(self) -> int:
        """Pictures of one item."""

    @abstractmethod
    def make(self, *, show_progress: bool = False) -> Any:
        """The maker: loads what items are made of."""

    @abstractmethod
    def encode(self, maker: Any, item: Any) -> Iterator[tuple[str, bytes]]:
        """The names and bytes of all parts of an item's samples, in the order of a shard."""

    @abstractmethod
    def digest(self, item: Any) -> str:
        """Hash of an item's annotations."""

    @abstractmethod
    def count(self, item: Any) -> Counts:
        """What `dataset.json` counts of an item."""

    @abstractmethod
    def preview(self, maker: Any) -> tuple[Path, ...]:
        """Write pictures of the first items."""

    def recorded_digest(self, maker: Any) -> str | None:
        """The hash of all annotations that this run must give, where one is recorded."""
        return None

    @property
    def shards(self) -> int:
        return -(-self.sequences // self.shard_size)

    def indices(self, number: int) -> range:
        """The items of a shard."""
        return range(number * self.shard_size, min((number + 1) * self.shard_size, self.sequences))

    def shard(self, number: int) -> Path:
        return self.out / shard_name(self.kind, self.split, number)

    def settings(self) -> dict[str, Any]:
        """What decides the files' bytes, as plain values; how many items there are is not of it.

        Settings that recipes gained later are left out where they are as by default, so that older folders compare.
        """
        gained = self._gained()
        recipe = self.recipe.model_dump(mode="json")
        return {
            "recipe": {name: value for name, value in recipe.items() if name not in gained or value != gained[name]},
            "seed": self.seed,
            "split": self.split,
            "shard_size": self.shard_size,
            "backgrounds": None if self.backgrounds is None else str(self.backgrounds),
            "hand_model": self.hand_model,
        }

    def completed(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Settings of such a run with all that was left out of their recipe."""
        return {**settings, "recipe": {**self._gained(), **settings.get("recipe", {})}}

    def beside(self) -> dict[str, dict[str, Any]]:
        """What other JSON files stand beside `dataset.json`, by name."""
        return {}

    def _gained(self) -> dict[str, Any]:
        """The defaults, as plain values, of the settings that this recipe gained."""
        fields = type(self.recipe).model_fields
        return {name: to_jsonable_python(fields[name].default) for name in _GAINED if name in fields}

    def sources(self, maker: Any) -> dict[str, str]:
        """Hashes of what was loaded."""
        return {**maker.sources(), "backgrounds": _stamp(self.backgrounds)}

    def licences(self, maker: Any) -> dict[str, str]:
        """Under which terms each part of the pictures comes."""
        mano = "MANO's licence (https://mano.is.tue.mpg.de), if it is MANO"
        return {
            "hand": _OURS if maker.hand.name == "open" else mano,
            "poses": _OURS,
            "appearance": _OURS,
            "backgrounds": f"{_OURS}; photographs: as scikit-image's data/README.txt says"
            if self.backgrounds is None
            else f"as {self.backgrounds} came",
        }

    def fingerprint(self, maker: Any) -> str:
        """Changes whenever the files would: settings, and what was loaded by them."""
        text = json.dumps([self.generation, self.settings(), self.sources(maker)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def make_shard(
    job: ShardJob, maker: Any, number: int, *, fingerprint: str, on_sequence: Callable[[], None]
) -> ShardNote:
    """Write one shard and its note; `on_sequence` is called after each of its items."""
    indices = job.indices(number)
    digests: list[str] = []
    counts: list[Counts] = []

    def parts() -> Iterator[tuple[str, bytes]]:
        for item in maker.annotate_many(indices):
            yield from job.encode(maker, item)
            digests.append(job.digest(item))
            counts.append(job.count(item))
            on_sequence()

    path = job.shard(number)
    size, sha256 = write_shard(path, parts())
    note = ShardNote(
        name=path.name,
        fingerprint=fingerprint,
        first=indices.start,
        sequences=len(indices),
        frames=len(indices) * job.frames,
        bytes=size,
        sha256=sha256,
        digests=digests,
        statistics=add_counts(counts),
        pictures_skipped=[] if job.backgrounds is None else [str(path) for path, _ in maker.backgrounds.skipped],
    )
    write_note(path, note)
    return note


def _stamp(folder: Path | None) -> str:
    """Changes with the names and sizes of the pictures that backgrounds are cut from."""
    if folder is None:
        names = [(path.name, path.stat().st_size) for path in bundled_photos()]
    else:
        found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
        names = [(path.relative_to(folder).as_posix(), path.stat().st_size) for path in found]
    return hashlib.sha256(json.dumps(sorted(names)).encode()).hexdigest()[:16]
