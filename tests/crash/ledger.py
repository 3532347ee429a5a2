"""What was sent to a broker, what it answered, and what was seen of it: plain data, no I/O.

A message is known by its producer and its number, which its messageId tells. Each has a status,
which is that of the request it was sent with, and a count of the offsets it was seen at; both are
one byte. Each partition has the message of each offset that was seen, in eight bytes.

A message that was acknowledged must be there once, one that was refused not at all, and one whose
request was never answered once or not at all. Nothing is ever sent again, so whatever is there
twice is a defect.
"""

import hashlib
import re
import threading
from array import array
from collections import Counter
from collections.abc import Iterable
from enum import IntEnum, StrEnum
from typing import Any, Final, NamedTuple

FOREIGN: Final = (1 << 64) - 1
"""Stands for a message that no producer sent."""
UNSEEN: Final = FOREIGN - 1
"""Stands for an offset that was passed over."""
NUMBER_BITS: Final = 40
MOST_COUNTED: Final = 255
MESSAGE_ID: Final = re.compile(r"p([0-9]{1,4})-([0-9]{6,12})")


class Status(IntEnum):
    """What a producer knows of a message; one that is under way is unknown, too."""

    UNKNOWN = 0
    ACKNOWLEDGED = 1
    REFUSED = 2


class Kind(StrEnum):
    """What can be wrong."""

    LOST = "lost"
    DUPLICATED = "duplicated"
    REORDERED = "reordered"
    HOLE = "holes"
    CHANGED = "changed"
    MISPLACED = "misplaced"
    FOREIGN = "foreign"
    COMMIT_LOWERED = "commits lowered"
    COMMIT_INVENTED = "commits invented"
    FENCE = "fences broken"
    BROKER = "broker errors"


class Violation(NamedTuple):
    """A promise that did not hold, and a sentence that names where."""

    kind: Kind
    text: str


class Record(NamedTuple):
    """A message as a consumer gets it."""

    offset: int
    message_id: str
    content: Any


class Ledger:
    """Takes down what producers and consumers, each in a thread of its own, do and see."""

    def __init__(self, producers: int, partitions: int) -> None:
        self.violations: dict[Violation, None] = {}  # In order, each once.
        self._lock = threading.Lock()
        self._statuses = [bytearray() for _ in range(producers)]
        self._counts = [bytearray() for _ in range(producers)]
        self._settled = [0] * producers
        self._offsets = [array("Q") for _ in range(partitions)]
        self._newest = [[-1] * producers for _ in range(partitions)]
        self._commits_sent = [0] * partitions
        self._commits_answered = [0] * partitions

    # -- producing

    def sending(self, producer: int, count: int) -> int:
        """Take down that so many messages are about to be sent; return the number of the first."""
        with self._lock:
            first = len(self._statuses[producer])
            self._statuses[producer].extend(bytes([Status.UNKNOWN]) * count)
            self._counts[producer].extend(bytes(count))
            return first

    def answered(self, producer: int, first: int, count: int, status: Status) -> None:
        """Take down the answer that a request got."""
        with self._lock:
            self._statuses[producer][first : first + count] = bytes([status]) * count

    # -- consuming

    def saw(self, partition: int, start: int, records: Iterable[Record]) -> None:
        """Take down a batch that begins behind the offset `start`."""
        with self._lock:
            offsets = self._offsets[partition]
            expected = start + 1
            for record in records:
                offset = record.offset
                if offset != expected or offset > len(offsets) + 1:
                    here = f"partition {partition}: {offset} comes where"
                    wanted = min(expected, len(offsets) + 1)
                    self._found(Kind.HOLE, f"{here} {wanted} is expected")
                    offsets.extend([UNSEEN] * (offset - 1 - len(offsets)))
                expected = offset + 1
                code = self._code(record)
                if offset > len(offsets):
                    offsets.append(code)
                    self._arrived(partition, record, code)
                elif offsets[offset - 1] != code:
                    before = _name(offsets[offset - 1])
                    text = f"partition {partition}: {offset} was {before}"
                    self._found(Kind.CHANGED, f"{text} and is {record.message_id!r}")

    def committing(self, partition: int, offset: int) -> None:
        """Take down that a commit is about to be sent."""
        with self._lock:
            self._commits_sent[partition] = max(self._commits_sent[partition], offset)

    def committed(self, partition: int, offset: int) -> None:
        """Take down that a commit was answered."""
        with self._lock:
            self._commits_answered[partition] = max(self._commits_answered[partition], offset)

    # -- checking

    def check_offsets(self, partition: int, read: int, log_end: int) -> None:
        """Check what a broker that was just started says of a partition."""
        with self._lock:
            least, most = self._commits_answered[partition], self._commits_sent[partition]
            here = f"partition {partition}: readOffset is {read}"
            if read < least:
                self._found(Kind.COMMIT_LOWERED, f"{here}, and {least} was committed")
            if read > most:
                self._found(Kind.COMMIT_INVENTED, f"{here}, and no commit beyond {most} was sent")
            self._check_end(partition, log_end)

    def settle(self, log_ends: Iterable[int]) -> None:
        """Check all messages since the last time; all partitions must have been read to the end."""
        with self._lock:
            for partition, log_end in enumerate(log_ends):
                self._check_end(partition, log_end)
                if log_end > len(self._offsets[partition]):
                    unread = f"{len(self._offsets[partition])} of {log_end} could be read"
                    self._found(Kind.HOLE, f"partition {partition}: only {unread}")
            for producer, first in enumerate(self._settled):
                self._settled[producer] = len(self._statuses[producer])
                self._check(producer, first)

    def check_all(self) -> None:
        """Check the messages of the whole life once more; what was named is not named again."""
        with self._lock:
            for producer in range(len(self._settled)):
                self._check(producer, 0)

    def found(self, kind: Kind, text: str) -> None:
        """Take down what somebody else has found."""
        with self._lock:
            self._found(kind, text)

    def is_at(self, partition: int, offset: int, message_id: str) -> bool:
        """Tell whether this message was seen at this offset."""
        with self._lock:
            offsets = self._offsets[partition]
            return offset <= len(offsets) and _name(offsets[offset - 1]) == repr(message_id)

    # -- what there is

    def total(self, status: Status) -> int:
        """Return how many messages have a status."""
        with self._lock:
            return sum(statuses.count(status) for statuses in self._statuses)

    def unknown_and_there(self) -> int:
        """Return how many messages are there though nobody was told so."""
        with self._lock:
            pairs = zip(self._statuses, self._counts, strict=True)
            return sum(
                status == Status.UNKNOWN and count > 0
                for statuses, counts in pairs
                for status, count in zip(statuses, counts, strict=True)
            )

    def by_kind(self) -> Counter[Kind]:
        """Return how many violations there are of each kind."""
        return Counter(violation.kind for violation in self.violations)

    def _found(self, kind: Kind, text: str) -> None:
        self.violations[Violation(kind, text)] = None

    def _code(self, record: Record) -> int:
        match = MESSAGE_ID.fullmatch(record.message_id)
        if not match:
            return FOREIGN
        producer, number = int(match[1]), int(match[2])
        sent = producer < len(self._statuses) and number < len(self._statuses[producer])
        if not sent or record.message_id != message_id(producer, number):
            return FOREIGN
        return producer << NUMBER_BITS | number if record.content == number else FOREIGN

    def _arrived(self, partition: int, record: Record, code: int) -> None:
        """Check a message that is seen at an offset for the first time."""
        here = f"partition {partition}: {record.message_id!r} at {record.offset}"
        if code == FOREIGN:
            self._found(Kind.FOREIGN, f"{here} was never sent, or not with this content")
            return
        producer, number = divmod(code, 1 << NUMBER_BITS)
        counts, newest = self._counts[producer], self._newest[partition]
        counts[number] = min(counts[number] + 1, MOST_COUNTED)
        if counts[number] > 1:
            self._found(Kind.DUPLICATED, f"{here} was seen at another offset before")
        elif number < newest[producer]:
            after = message_id(producer, newest[producer])
            self._found(Kind.REORDERED, f"{here} comes behind {after!r}")
        elif number < self._settled[producer]:
            self._found(Kind.REORDERED, f"{here} was not there when all had been read to the end")
        if partition_of(record.message_id, len(self._offsets)) != partition:
            self._found(Kind.MISPLACED, f"{here} belongs to another partition")
        newest[producer] = max(newest[producer], number)

    def _check_end(self, partition: int, log_end: int) -> None:
        seen = len(self._offsets[partition])
        if log_end < seen:
            text = f"partition {partition}: logEndOffset is {log_end}, and {seen} was seen"
            self._found(Kind.LOST, text)

    def _check(self, producer: int, first: int) -> None:
        statuses, counts = self._statuses[producer], self._counts[producer]
        for number in range(first, len(statuses)):
            status, count = statuses[number], counts[number]
            if status == Status.ACKNOWLEDGED and not count:
                text = "was acknowledged and is not there"
                self._found(Kind.LOST, f"{message_id(producer, number)!r} {text}")
            elif status == Status.REFUSED and count:
                text = "was refused and is there"
                self._found(Kind.FOREIGN, f"{message_id(producer, number)!r} {text}")


def message_id(producer: int, number: int) -> str:
    """Return the messageId of a producer's message.

    >>> message_id(3, 123)
    'p3-000123'
    """
    return f"p{producer}-{number:06}"


def partition_of(key: str, partitions: int) -> int:
    """Return the partition that a messageId belongs to, as the README's promise has it."""
    return int(hashlib.sha256(key.encode()).hexdigest()[:8], 16) % partitions


def _name(code: int) -> str:
    if code >= UNSEEN:
        return "something else"
    return repr(message_id(*divmod(code, 1 << NUMBER_BITS)))
