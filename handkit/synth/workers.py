"""Shards in several processes: which process makes a shard changes nothing in it.

The parent hands out one shard number at a time; a worker answers with a message for every sequence, then with the
shard's note. A worker whose parent is gone fails at its next message and leaves nothing half written.
"""

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Final

import cv2
import torch

from handkit.errors import HandkitError
from handkit.synth.shard_job import ShardJob, make_shard
from handkit.synth.shards import ShardNote

_THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def make_shards(
    job: ShardJob,
    maker: Any,
    numbers: Sequence[int],
    *,
    fingerprint: str,
    workers: int,
    on_sequence: Callable[[], None],
) -> Generator[ShardNote, None, None]:
    """Notes of the shards as they are finished; in this process, with `maker`, if there is one worker.

    Closing it stops all workers.

    Raises HandkitError where a shard cannot be made or a worker is killed.
    """
    if workers > 1:
        yield from _in_processes(job, numbers, fingerprint, workers, on_sequence)
        return
    for number in numbers:
        yield make_shard(job, maker, number, fingerprint=fingerprint, on_sequence=on_sequence)


def _in_processes(
    job: ShardJob, numbers: Sequence[int], fingerprint: str, workers: int, on_sequence: Callable[[], None]
) -> Iterator[ShardNote]:
    waiting = list(reversed(numbers))
    context = multiprocessing.get_context("spawn")
    processes: dict[Connection, SpawnProcess] = {}
    try:
        for _ in range(workers):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs, job, fingerprint), daemon=True)
            with _one_thread_each():
                process.start()
            theirs.close()
            processes[ours] = process
            _send(ours, process, waiting.pop())
        busy = set(processes)
        while busy:
            for pipe in wait(list(busy)):
                assert isinstance(pipe, Connection)
                note = _receive(pipe, processes[pipe])
                if note is None:
                    on_sequence()
                    continue
                if waiting:
                    _send(pipe, processes[pipe], waiting.pop())
                else:
                    busy.remove(pipe)
                yield note
    finally:
        for pipe, process in processes.items():
            process.terminate()
            process.join()
            pipe.close()


def _send(pipe: Connection, process: SpawnProcess, number: int) -> None:
    """Give a worker its next shard."""
    try:
        pipe.send(number)
    except (BrokenPipeError, ConnectionResetError):
        raise _stopped(process) from None


def _stopped(process: SpawnProcess) -> HandkitError:
    process.join()
    return HandkitError(
        f"a worker was stopped from outside (exit code {process.exitcode})",
        "run the same command again, with fewer --workers if memory ran out",
    )


def _receive(pipe: Connection, process: SpawnProcess) -> ShardNote | None:
    """A finished shard's note, or None for one more sequence; raises what went wrong in the worker."""
    try:
        message = pipe.recv()
    except (EOFError, ConnectionResetError):  # reset: it had not read its shard's number yet
        raise _stopped(process) from None
    if isinstance(message, HandkitError):
        raise message
    if isinstance(message, str):
        raise RuntimeError(f"a worker failed:\n{message}")
    return message


def _work(pipe: Connection, job: ShardJob, fingerprint: str) -> None:
    """What a worker does: the shards it is sent, until the parent stops it or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    with suppress(BrokenPipeError, ConnectionResetError, EOFError):
        try:
            torch.set_num_threads(1)
            cv2.setNumThreads(1)
            maker = job.make()
            while True:
                note = make_shard(job, maker, pipe.recv(), fingerprint=fingerprint, on_sequence=lambda: pipe.send(None))
                pipe.send(note)
        except HandkitError as error:
            pipe.send(error)
        except (BrokenPipeError, ConnectionResetError, EOFError):
            raise
        except Exception:
            pipe.send(traceback.format_exc())


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let processes started within use one thread in every library."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
