"""What an error of the disk means for a file that is written.

- No room: nothing was kept, and it may be tried again: `StorageFull`.
- A sync that failed: the kernel may have dropped what it could not write, so nothing that is
  written from now on could be relied on. The file is closed for writing: `StorageFailed`, for good.
- Anything else: `StorageFailed`, and it may be tried again.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
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
    """Stands before the writes to one file.

    `failure` is why it was closed for good; `trouble`, why the last write was refused, until one
    succeeds.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.failure: str | None = None
        self.trouble: str | None = None

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Let the block write; turn the disk's errors into `StorageFull` and `StorageFailed`."""
        try:
            with self.checking():
                yield
        except (StorageFull, StorageFailed) as error:
            self.trouble = str(error.__cause__ or error)
            raise
        self.trouble = None

    @contextmanager
    def checking(self) -> Iterator[None]:
        """As `writing`, for a block whose success says nothing of the next write."""
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

    def problem(self, try_again: Callable[[], object]) -> str | None:
        """Return in words what keeps the file from being written, None where nothing does.

        After a write that was refused, `try_again` is called, a write that changes nothing: who
        sends nothing more after a refusal shall hear all the same that there is room again.
        """
        if self.trouble and not self.failure:
            with suppress(StorageFull, StorageFailed):
                try_again()
        if self.failure:
            return f"is closed for writing ({self.failure}); check the disk, then restart"
        if self.trouble:
            return f"cannot be written ({self.trouble}); make room, or check the disk"
        return None
