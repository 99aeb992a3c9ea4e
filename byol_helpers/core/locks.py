"""One process at a time at what two would write."""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # what such file systems answer


@contextmanager
def hold_lock(path: Path, when_busy: Callable[[], object]) -> Iterator[None]:
    """Keep a lock file to this process for the block; it goes with the process, however that ends.

    On a file system without locks nothing is kept.

    Args:
        path: the lock file, whose folder is made.
        when_busy: called where another process holds it: raises, or says that this one waits.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        try:
            lock.acquire(blocking=False)
        except Timeout:
            when_busy()
            lock.acquire()
    except NotImplementedError:
        pass
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise
    try:
        yield
    finally:
        lock.release()


def is_held(path: Path) -> bool:
    """Whether another process holds a lock file; False on a file system without locks."""
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return True
    except (OSError, NotImplementedError):
        return False
    lock.release()
    return False
