"""Reading ahead and writing behind in threads, while the main thread works."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item, Read, Work, Written = (TypeVar(name) for name in ("Item", "Read", "Work", "Written"))

# So many threads, so many items read early, and so many waiting to be written: what bounds the memory.
THREADS = AHEAD = max(2, min(4, os.cpu_count() or 1))


def map_in_threads(
    items: Iterable[Item],
    read: Callable[[Item], Read],
    work: Callable[[Read], Work],
    write: Callable[[Item, Work], Written],
) -> Iterator[tuple[Item, Callable[[], Written]]]:
    """``write(item, work(read(item)))`` for each item: ``work`` here, one at a time, the others in threads.

    At most ``AHEAD`` items are read and not yet worked on, and as many worked on and not yet written. Where the
    loop over the results ends early, what has not begun is dropped.

    Yields:
        In the order of the items, each with a function that waits for what ``write`` returned, or raises what
        one of the three raised.
    """
    items, pool = iter(items), ThreadPoolExecutor(THREADS)
    reading, writing = deque(), deque()
    try:
        while True:
            for item in islice(items, AHEAD - len(reading)):
                reading.append((item, pool.submit(read, item)))
            if not reading:
                break
            item, future = reading.popleft()
            writing.append((item, _submit_write(pool, item, future, work, write)))
            while writing and (len(writing) > AHEAD or writing[0][1].done()):
                item, future = writing.popleft()
                yield item, future.result
        for item, future in writing:
            yield item, future.result
    finally:
        pool.shutdown(cancel_futures=True)


def _submit_write(
    pool: ThreadPoolExecutor, item: Item, future: Future, work: Callable, write: Callable
) -> Future:
    """From what was read to what will be written; a failure becomes that of the writing."""
    try:
        return pool.submit(write, item, work(future.result()))
    except Exception as error:
        failed = Future()
        failed.set_exception(error)
        return failed
