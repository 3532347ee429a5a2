"""The values that travel: a message on its way in, and a batch on its way out."""

from dataclasses import dataclass
from typing import Any, Self

import msgspec


@dataclass(frozen=True, slots=True)
class Message:
    """A message to produce: its id, and its content as JSON text (UTF-8).

    >>> Message.of("msg-001", {"orderId": "123"})
    Message(message_id='msg-001', content=b'{"orderId":"123"}')
    """

    message_id: str
    content: bytes

    @classmethod
    def of(cls, message_id: str | int, value: Any) -> Self:
        """Make a message of a Python value; anything that has a form in JSON will do."""
        return cls(str(message_id), msgspec.json.encode(value))


@dataclass(frozen=True, slots=True)
class Record:
    """A message as its partition keeps it."""

    topic_id: str
    partition_id: int
    offset: int
    message_id: str
    content: bytes

    @property
    def value(self) -> Any:
        """The content as a Python value."""
        return msgspec.json.decode(self.content)


@dataclass(frozen=True, slots=True)
class Batch:
    """What one read of a log gives: whole lines, in order, without their newlines.

    `start_offset` is the offset that the batch starts behind, `end_offset` the offset of its last
    line, and what to commit. An empty batch has both alike.
    """

    start_offset: int
    end_offset: int
    lines: list[bytes]

    @property
    def count(self) -> int:
        """How many messages it has."""
        return len(self.lines)
