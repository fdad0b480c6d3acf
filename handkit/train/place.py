"""Where a process stands among those that train together, and the Fabric that joins them."""

import atexit
import gc
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from inspect import signature
from itertools import islice
from typing import Any, TypeVar

import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from lightning.fabric.strategies import DDPStrategy
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from handkit.errors import HandkitError

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Place:
    """Which of `ranks` processes this is, and the device it computes on."""

    rank: int = 0
    ranks: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes and tells."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """The rows of a batch of `count` that are this process's. Raises HandkitError where it does not divide."""
        if count % self.ranks:
            raise HandkitError(
                f"a batch of {count} cannot be shared out over {self.ranks} processes",
                f"use a batch that {self.ranks} divides, or another number of processes",
            )
        own = count // self.ranks
        return slice(self.rank * own, (self.rank + 1) * own)

    def own(self, items: Iterable[Item]) -> Iterator[Item]:
        """Every `ranks`-th item, so that the processes together see each once; they need not divide."""
        return islice(items, self.rank, None, self.ranks)


def is_first_process() -> bool:
    """Whether this process is the only one or the first that `torchrun` started: the one that prints."""
    return int(os.environ.get("RANK", "0")) == 0


def launch(device: str, precision: Any) -> Fabric:
    """The Fabric of this process: alone, or one of those that `torchrun` started (gloo on the CPU, NCCL on CUDA).

    `device` is "auto", "cpu" or "cuda". Raises HandkitError where there are too few CUDA devices.
    """
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "cuda" and not found:
        raise HandkitError("there is no CUDA device", "use --device cpu")
    accelerator = "cuda" if found and device != "cpu" else "cpu"
    common: dict[str, Any] = {"accelerator": accelerator, "precision": precision}
    if not TorchElasticEnvironment.detect():
        fabric = Fabric(devices=1, plugins=[LightningEnvironment()], **common)
    else:
        here = int(os.environ["LOCAL_WORLD_SIZE"])
        if accelerator == "cuda" and here > found:
            raise HandkitError(
                f"{here} processes, but {found} CUDA devices on this machine", f"use --nproc-per-node {found}"
            )
        fabric = Fabric(
            devices=here,
            num_nodes=int(os.environ["WORLD_SIZE"]) // here,
            strategy=_strategy(),
            plugins=[TorchElasticEnvironment()],
            **common,
        )
    for name in ("lightning.fabric", "lightning.pytorch"):  # what joins is told by whichever was imported last
        logging.getLogger(name).setLevel(logging.WARNING)
    atexit.unregister(_leave_group)  # once, however often a process launches
    atexit.register(_leave_group)
    fabric.launch()
    return fabric


def _leave_group() -> None:
    """End the group's threads while Python still stands: left to the interpreter's end, one now and then aborts it."""
    if torch.distributed.is_initialized():
        gc.collect()  # wrappers of networks that hold on to the group
        torch.distributed.destroy_process_group()


def _strategy() -> DDPStrategy:
    # Buffers are not copied at every forward: a second one in a step would find those that the first needs changed.
    known = signature(DistributedDataParallel).parameters
    keyword = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"  # older torch
    changes: dict[str, Any] = {keyword: False}
    return DDPStrategy(**changes)


def place_of(fabric: Fabric) -> Place:
    """The place of this process."""
    return Place(fabric.global_rank, fabric.world_size, fabric.device)


def add_up(fabric: Fabric, values: Tensor) -> Tensor:
    """The sum over all processes, on every one."""
    if fabric.world_size > 1:
        torch.distributed.all_reduce(values)
    return values


def gather(fabric: Fabric, value: Item) -> list[Item]:
    """The values of all processes, in their order, on every one; plain values and CPU tensors."""
    values: list[Any] = [value] * fabric.world_size
    if fabric.world_size > 1:
        torch.distributed.all_gather_object(values, value)
    return values


def first_does(fabric: Fabric, work: Callable[[], Result]) -> Result:
    """What `work` gives in the first process, on every one; its HandkitError is raised on every one."""
    done: Any = None
    if fabric.global_rank == 0:
        try:
            done = work()
        except HandkitError as error:
            done = error
    done = fabric.broadcast(done)
    if isinstance(done, HandkitError):
        raise done
    return done


def done_once(work: Callable[[], Result], device: str, precision: Any) -> Result:
    """What `work` gives, done by the first of the processes that `torchrun` started, or by this one alone."""
    if not torch.distributed.is_torchelastic_launched():
        return work()
    return first_does(launch(device, precision), work)
