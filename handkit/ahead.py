"""Doing the next piece of work while this one is used: decoding, drawing and encoding side by side."""

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


class _End:
    """What the thread leaves last: the error it stopped at, if any."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def ahead(items: Iterable[T], size: int = 4) -> Iterator[T]:
    """The same items, made by a thread that runs up to `size` of them ahead.

    What the thread raises is raised here, after the items before it. A consumer that stops early stops the thread.
    """
    ready: queue.Queue[T | _End] = queue.Queue(size)
    stopped = threading.Event()

    def put(item: T | _End) -> bool:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        error: BaseException | None = None
        try:
            for item in items:
                if not put(item):
                    break
        except BaseException as raised:
            error = raised
        put(_End(error))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            item = ready.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
    finally:
        stopped.set()
        thread.join()
