"""What an error of the disk means for a file that is written.

- No room: nothing was kept, and it may be tried again: `StorageFull`.
- A sync that failed: the kernel may have dropped what it could not write, so nothing that is
  written from now on could be relied on. The file is closed for writing: `StorageFailed`, for good.
- Anything else: `StorageFailed`, and it may be tried again.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pandaq.errors import StorageFailed, StorageFull
from pandaq.storage.disk import NO_ROOM


class SyncFailed(OSError):
    """Something that had to be durable may not be."""


def must_succeed(call: Callable[[], object]) -> None:
    """Do `call`, a sync or the undoing of a write, after whose failure nothing may be written.

    Raises `SyncFailed`.
    """
    try:
        call()
    except OSError as error:
        raise SyncFailed(error.errno, error.strerror or str(error)) from error


class WriteGuard:
    """Stands before the writes to one file, and remembers in `failure` why it was closed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.failure: str | None = None

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Let the block write; turn the disk's errors into `StorageFull` and `StorageFailed`."""
        if self.failure:
            raise StorageFailed(self.path, self.failure, closed=True)
        try:
            yield
        except OSError as error:
            if isinstance(error, SyncFailed):
                self.failure = str(error)
                raise StorageFailed(self.path, self.failure, closed=True) from error
            if error.errno in NO_ROOM:
                raise StorageFull(self.path) from error
            raise StorageFailed(self.path, str(error)) from error
