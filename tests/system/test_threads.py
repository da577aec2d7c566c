"""A pool that is left early does not begin the rest of its work."""

from __future__ import annotations

import threading

import pytest

from memcore.system.threads import Threads


def test_what_has_not_begun_is_left() -> None:
    begun, go_on = threading.Event(), threading.Event()
    done: list[int] = []

    def work(number: int) -> None:
        begun.set()
        go_on.wait(20)
        done.append(number)

    def leave(pool: Threads) -> None:
        submitted = [pool.submit(work, number) for number in range(5)]
        submitted[-1].add_done_callback(lambda future: go_on.set())  # when it is cancelled
        begun.wait()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Threads(1) as pool:
        leave(pool)
    assert done == [0]


def test_otherwise_all_is_done() -> None:
    done: list[int] = []
    with Threads(1) as pool:
        for number in range(5):
            pool.submit(done.append, number)
    assert done == [0, 1, 2, 3, 4]
