"""What one read of a log gives."""

from dataclasses import dataclass, field
from itertools import repeat

from pandaq.message import Record
from pandaq.records import decode_record


@dataclass(frozen=True, slots=True)
class Batch:
    """Whole lines of a log, in order, without their newlines.

    `start_offset` is the offset that the batch starts behind, `end_offset` the offset of its last
    line, and what to commit. An empty batch has both alike, unless all that was left is lost, or
    not for this reader: then it passes over that. `times` (ms since 1970) is when each line was
    appended; empty where nobody asked.
    """

    start_offset: int
    end_offset: int
    lines: list[bytes]
    times: list[int] = field(default_factory=list, compare=False)

    @property
    def count(self) -> int:
        """How many messages it has."""
        return len(self.lines)

    def records(self) -> list[Record]:
        r"""Return the messages of a partition's batch.

        >>> Batch(0, 1, [b'orders|2|1|msg-001|{"amount":99.99}']).records()[0].value
        {'amount': 99.99}
        """
        times = self.times or repeat(0, self.count)
        return [decode_record(line, time) for line, time in zip(self.lines, times, strict=False)]
