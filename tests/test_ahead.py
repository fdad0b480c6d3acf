import threading
from collections.abc import Iterator

import pytest

from handkit.ahead import ahead


def test_gives_the_same_items_in_order() -> None:
    assert list(ahead(iter(range(100)), size=3)) == list(range(100))


def test_runs_ahead_but_only_so_far() -> None:
    made: list[int] = []
    third = threading.Event()

    def items() -> Iterator[int]:
        for i in range(50):
            made.append(i)
            if i == 2:
                third.set()
            yield i

    iterator = ahead(items(), size=2)
    assert next(iterator) == 0
    assert third.wait(5)
    assert len(made) <= 5
    iterator.close()
    assert not [thread for thread in threading.enumerate() if thread.name.endswith("(work)")]


def test_errors_arrive_after_the_items_before_them() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("third")

    iterator = ahead(items())
    assert [next(iterator), next(iterator)] == [1, 2]
    with pytest.raises(ValueError, match="third"):
        next(iterator)
