"""Shards read from beginning to end through webdataset, dealt out to processes and workers, in a repeatable order."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import webdataset as wds

from handkit.data.shards import check_whole
from handkit.errors import HandkitError

Item = TypeVar("Item")
Cut = Callable[[Iterable[tuple[str, dict[str, bytes]]], str], Iterator[Item]]


def stream_samples(
    shards: Sequence[Path],
    parts: Iterable[Iterable[str]],
    cut: Cut[Item],
    *,
    order: tuple[int, int] | None = None,
    buffer: int = 1,
) -> Iterator[tuple[str, Item]]:
    """(shard, item) of what `cut` makes of each shard's (key, {part: bytes}).

    Every process and worker gets shards of its own. `order` is (seed, epoch): shards are then shuffled, and items
    within a buffer of `buffer`; the same pair gives the same order for the same number of workers. Raises HandkitError
    for a shard that is cut off, and for samples of other parts than `parts` (one of each group).
    """
    rng = None if order is None else np.random.default_rng(order)
    numbers = range(len(shards)) if rng is None else rng.permutation(len(shards))
    groups = [frozenset(group) for group in parts]
    paths = [str(shards[number]) for number in numbers]
    mine = wds.split_by_worker(wds.split_by_node(iter(paths)))
    items = (item for path in mine for item in _read_shard(path, groups, cut))
    return items if rng is None else _mixed(items, buffer, rng)


def _read_shard(path: str, groups: list[frozenset[str]], cut: Cut[Item]) -> Iterator[tuple[str, Item]]:
    check_whole(Path(path))

    def samples() -> Iterator[tuple[str, dict[str, bytes]]]:
        with open(path, "rb") as file:
            members = wds.tariterators.tar_file_expander([{"url": path, "stream": file}])
            for sample in wds.tariterators.group_by_keys(members):
                found = {part: content for part, content in sample.items() if not part.startswith("__")}
                if sorted(len(group & found.keys()) for group in groups) != [1] * len(found):
                    what = f"{path} holds the sample {sample['__key__']} of parts {', '.join(sorted(found))}"
                    raise HandkitError(what, "take the shard away, or generate it again")
                yield sample["__key__"], found

    for item in cut(samples(), path):
        yield path, item


def _mixed(items: Iterator[Any], size: int, rng: np.random.Generator) -> Iterator[Any]:
    """Items in random order, each drawn from the `size` next ones."""
    held: list[Any] = []
    for item in items:
        held.append(item)
        if len(held) >= size:
            yield held.pop(int(rng.integers(len(held))))
    while held:
        yield held.pop(int(rng.integers(len(held))))
