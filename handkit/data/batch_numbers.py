"""Batches known by their numbers: the same whatever the number of processes and workers, from any number on.

Batch n of size B takes the places [n B, (n + 1) B) of an endless row of items; each process of a run makes its own rows
of every batch, each worker every so many batches.
"""

from __future__ import annotations

import itertools
import pickle
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from handkit.errors import HandkitError

if TYPE_CHECKING:
    from handkit.train import Place

Batch = dict[str, Any]
Make = Callable[[Sequence[int]], Any]  # what is at some places of the row

_AHEAD: Final = 2  # batches that each worker makes ahead
_ALIGNED: Final = 64  # bytes


class EpochOrder:
    """Which of `count` items stands at each place of the endless row: epoch after epoch, with a seed each in its own
    random order, and in a fixed one without. So many items in a row stay `together`."""

    def __init__(self, count: int, *, seed: int | None, together: int = 1) -> None:
        self.count, self.seed, self.together = count, seed, together

    def __getitem__(self, place: int) -> int:
        epoch, within = divmod(place, self.count)
        return within if self.seed is None else int(_shuffled(self.count, self.seed, epoch, self.together)[within])


@lru_cache(maxsize=4)
def _shuffled(count: int, seed: int, epoch: int, together: int) -> NDArray[np.int64]:
    blocks = np.random.default_rng((seed, epoch)).permutation(-(-count // together))
    items = (together * blocks[:, None] + np.arange(together)).ravel()
    return items[items < count]


def check_batch(batch: int, items: int | None, what: str) -> None:
    """Raise HandkitError unless a batch takes at least one item, and no more than there are (None: endless)."""
    if batch < 1:
        raise HandkitError(f"a batch of {batch} {what}", "take at least 1")
    if items is not None and batch > items:
        raise HandkitError(f"a batch of {batch} {what} is larger than the data, {items}", f"take at most {items}")


def load_numbered(
    make: Make, *, batch: int, start: int, place: Place, workers: int = 0, pin_memory: bool = False
) -> Iterator[Any]:
    """What `make` gives for this process's rows of the batches `start`, `start` + 1, ..., in this order, endless.

    As `load_asked`. Raises HandkitError where the processes cannot share a batch evenly.
    """
    rows = place.share(batch)
    asked = (range(number * batch, (number + 1) * batch)[rows] for number in itertools.count(start))
    return load_asked(make, asked, workers=workers, pin_memory=pin_memory)


def load_asked(
    make: Make, asked: Iterable[Sequence[int]], *, workers: int = 0, pin_memory: bool = False
) -> Iterator[Any]:
    """What `make` gives for each of what is `asked`, in this order.

    `make` is copied to each of `workers` spawned processes, and they are asked ahead; without any it is called here
    when the next is wanted. Dicts come with tensors for arrays. Raises what `make` raised in a worker.
    """
    if not workers:
        for places in asked:
            yield as_tensors(make(places))
        return
    loader: DataLoader[Any] = DataLoader(
        _Made(make),
        batch_size=None,
        sampler=asked,
        num_workers=workers,
        prefetch_factor=_AHEAD,
        multiprocessing_context="spawn",
        worker_init_fn=_begin_worker,
        pin_memory=pin_memory,
    )
    for made in loader:
        if isinstance(made, HandkitError):
            raise made
        yield _unpack(made)


class _Made(Dataset[Any]):
    """What is made of some places, as workers send it."""

    def __init__(self, make: Make) -> None:
        self.make = make

    def __getitem__(self, places: Sequence[int]) -> _Parcel | HandkitError:
        try:
            return _pack(self.make(places))
        except HandkitError as error:  # a loader makes another error of what is raised
            return error


class _Parcel(NamedTuple):
    """Anything picklable, the bytes of all its arrays in one tensor: memory, and a file descriptor, that is shared."""

    content: bytes
    spans: list[tuple[int, int]]
    arrays: Tensor


def _pack(made: Any) -> _Parcel:
    found: list[pickle.PickleBuffer] = []
    content = pickle.dumps(_as_arrays(made), protocol=5, buffer_callback=found.append)
    sizes = [buffer.raw().nbytes for buffer in found]
    starts = np.cumsum([0, *(-(-size // _ALIGNED) * _ALIGNED for size in sizes)]).tolist()
    arrays = torch.empty(starts[-1], dtype=torch.uint8).share_memory_()
    spans = [(start, start + size) for start, size in zip(starts, sizes, strict=False)]
    for (start, end), buffer in zip(spans, found, strict=True):
        arrays.numpy()[start:end] = np.frombuffer(buffer.raw(), np.uint8)
    return _Parcel(content, spans, arrays)


def _unpack(parcel: _Parcel) -> Any:
    whole: NDArray[np.uint8] = parcel.arrays.numpy()
    made = pickle.loads(parcel.content, buffers=[whole[start:end] for start, end in parcel.spans])
    return as_tensors(made, parcel.arrays)


def _as_arrays(made: Any) -> Any:
    if isinstance(made, dict):
        return {key: _as_arrays(value) for key, value in made.items()}
    return made.numpy() if isinstance(made, Tensor) else made


def as_tensors(made: Any, memory: Tensor | None = None) -> Any:
    """Dicts with tensors for their arrays, as views of the `memory` that they lie in: one that is pinned stays so."""
    if isinstance(made, dict):
        return {key: as_tensors(value, memory) for key, value in made.items()}
    if not isinstance(made, np.ndarray):
        return made
    tensor = torch.from_numpy(made)
    start = tensor.data_ptr() - memory.data_ptr() if memory is not None and made.size else -1
    if memory is None or not 0 <= start < memory.nbytes:
        return tensor
    return memory[start : start + tensor.nbytes].view(tensor.dtype).as_strided(tensor.shape, tensor.stride())


def _begin_worker(_: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the reading process decides
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
