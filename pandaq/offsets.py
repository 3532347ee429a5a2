"""Where a log ends and how far it has been read.

    1 ────────── read ────────── log_end
    taken away for good   still there for a consumer

Offsets count from 1 and have no holes: `log_end = 10` means ten messages, 1 to 10.
The rule of the whole broker: `0 <= read <= log_end`, and neither ever goes back, but for a seek,
which is counted: of two records of the same log, the one with more seeks is the later one.
"""

from dataclasses import dataclass, field

from pandaq.errors import InvalidOffset


@dataclass(frozen=True, slots=True)
class Offsets:
    """The two offsets of a log.

    >>> offsets = Offsets().appended(10).committed(4)
    >>> offsets
    Offsets(log_end=10, read=4)
    >>> offsets.pending
    6
    """

    log_end: int = 0
    read: int = 0
    seeks: int = field(default=0, repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.read <= self.log_end:
            raise ValueError(f"readOffset {self.read} is not from 0 to logEndOffset {self.log_end}")

    @property
    def pending(self) -> int:
        """How many messages are written and not yet taken away."""
        return self.log_end - self.read

    def appended(self, count: int) -> "Offsets":
        """Return the offsets after `count` more messages."""
        return Offsets(self.log_end + count, self.read, self.seeks)

    def committed(self, offset: int) -> "Offsets":
        """Return the offsets after a commit; the current readOffset changes nothing.

        Raises `InvalidOffset` below the readOffset or beyond the logEndOffset.
        """
        if not self.read <= offset <= self.log_end:
            raise InvalidOffset(offset, self.read, self.log_end)
        return Offsets(self.log_end, offset, self.seeks)

    def sought(self, offset: int, start: int = 1) -> "Offsets":
        """Return the offsets after a seek: the next message read is the one behind `offset`.

        Raises `InvalidOffset` where the log, which begins at offset `start`, has none such.

        >>> Offsets(10, 4).sought(2)
        Offsets(log_end=10, read=2)
        """
        if not start - 1 <= offset <= self.log_end:
            raise InvalidOffset(offset, start - 1, self.log_end, "sought")
        return Offsets(self.log_end, offset, self.seeks + 1)

    def at_end(self, log_end: int) -> "Offsets":
        """Return the same readOffset in a log that ends there."""
        return self if log_end == self.log_end else Offsets(log_end, self.read, self.seeks)
