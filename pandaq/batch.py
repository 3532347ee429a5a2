"""What one read of a log gives."""

from dataclasses import dataclass

from pandaq.message import Record
from pandaq.records import decode_record


@dataclass(frozen=True, slots=True)
class Batch:
    """Whole lines of a log, in order, without their newlines.

    `start_offset` is the offset that the batch starts behind, `end_offset` the offset of its last
    line, and what to commit. An empty batch has both alike, unless all that was left is lost: then
    it passes over that.
    """

    start_offset: int
    end_offset: int
    lines: list[bytes]

    @property
    def count(self) -> int:
        """How many messages it has."""
        return len(self.lines)

    def records(self) -> list[Record]:
        r"""Return the messages of a partition's batch.

        >>> Batch(0, 1, [b'orders|2|1|msg-001|{"amount":99.99}']).records()[0].value
        {'amount': 99.99}
        """
        return [decode_record(line) for line in self.lines]
