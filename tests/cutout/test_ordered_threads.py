"""Reading ahead and writing behind: order, bounds, failures."""

import threading
import time

import pytest

from byol_helpers.cutout.ordered_threads import QUEUED, map_in_threads


def test_results_come_in_order_whatever_takes_long():
    def read(item: int) -> int:
        time.sleep(0.01 * (item % 3))
        return 10 * item

    def write(item: int, value: int) -> tuple[int, int]:
        time.sleep(0.01 * ((item + 1) % 3))
        return item, value

    found = [
        (item, result())
        for item, result in map_in_threads(range(20), read, lambda value: value + 1, write)
    ]
    assert found == [(n, (n, 10 * n + 1)) for n in range(20)]


def test_no_more_than_so_many_are_in_memory():
    lock, counts, most = threading.Lock(), {"read": 0, "worked": 0}, {"read": 0, "worked": 0}

    def change(**by: int) -> None:
        with lock:
            for name, step in by.items():
                counts[name] += step
                most[name] = max(most[name], counts[name])

    def read(item: int) -> int:
        change(read=1)
        return item

    def work(item: int) -> int:
        time.sleep(0.002)
        change(read=-1, worked=1)
        return item

    def write(item: int, value: int) -> None:
        time.sleep(0.006)  # slower than the work: it has to wait
        change(worked=-1)

    for _, result in map_in_threads(range(60), read, work, write):
        result()
    assert counts == {"read": 0, "worked": 0}
    assert most["read"] <= QUEUED + 1 and most["worked"] <= QUEUED + 2


@pytest.mark.parametrize("where", ["read", "work", "write"])
def test_a_failure_is_that_of_its_item(where):
    def step(name: str):
        def do(*values: int) -> int:
            if name == where and values[0] == 3:
                raise ValueError(name)
            return values[0]

        return do

    outcomes = []
    for item, result in map_in_threads(range(6), step("read"), step("work"), step("write")):
        try:
            outcomes.append(result())
        except ValueError as error:
            outcomes.append((item, str(error)))
    assert outcomes == [0, 1, 2, (3, where), 4, 5]


def test_what_has_not_begun_is_dropped_when_the_loop_ends():
    begun = []
    steps = map_in_threads(range(1000), begun.append, lambda value: value, lambda item, value: item)
    next(steps)
    steps.close()
    assert len(begun) <= 2 * QUEUED + 2 and not [
        t for t in threading.enumerate() if "ThreadPool" in t.name
    ]
