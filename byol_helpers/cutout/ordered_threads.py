"""Reading ahead and writing behind in threads, while the main thread works."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

_Item = TypeVar("_Item")
_Read = TypeVar("_Read")
_Work = TypeVar("_Work")
_Written = TypeVar("_Written")

# So many threads, so many items read early and so many waiting to be written: this bounds memory.
THREADS = max(2, min(4, os.cpu_count() or 1))
QUEUED = THREADS


def map_in_threads(
    items: Iterable[_Item],
    read: Callable[[_Item], _Read],
    work: Callable[[_Read], _Work],
    write: Callable[[_Item, _Work], _Written],
) -> Iterator[tuple[_Item, Callable[[], _Written]]]:
    """``write(item, work(read(item)))`` for each item: ``work`` here, the others in threads.

    ``work`` does one at a time. At most ``QUEUED`` items are read and not yet worked on, and as
    many worked on and not yet written. Where the loop over the results ends early, what has not
    begun is dropped.

    Yields:
        In the order of the items, each with a function that waits for what ``write`` returned, or
        raises what one of the three raised.
    """
    waiting = iter(items)
    pool = ThreadPoolExecutor(THREADS)
    reading: deque[tuple[_Item, Future[_Read]]] = deque()
    writing: deque[tuple[_Item, Future[_Written]]] = deque()
    try:
        while True:
            for item in islice(waiting, QUEUED - len(reading)):
                reading.append((item, pool.submit(read, item)))
            if not reading:
                break
            item, being_read = reading.popleft()
            writing.append((item, _submit_write(pool, item, being_read, work, write)))
            while writing and (len(writing) > QUEUED or writing[0][1].done()):
                item, being_written = writing.popleft()
                yield item, being_written.result
        for item, being_written in writing:
            yield item, being_written.result
    finally:
        pool.shutdown(cancel_futures=True)


def _submit_write(
    pool: ThreadPoolExecutor,
    item: _Item,
    future: Future[_Read],
    work: Callable[[_Read], _Work],
    write: Callable[[_Item, _Work], _Written],
) -> Future[_Written]:
    """From what was read to what will be written; a failure becomes that of the writing."""
    try:
        return pool.submit(write, item, work(future.result()))
    except Exception as error:
        failed: Future[_Written] = Future()
        failed.set_exception(error)
        return failed
