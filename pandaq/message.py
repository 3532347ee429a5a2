"""The values that travel: a message on its way in, and a record on its way out."""

import json
from dataclasses import dataclass
from typing import Any, Self

from msgspec import Struct


class Message(Struct, frozen=True, gc=False):
    """A message to produce: its id, and its content as JSON text (UTF-8).

    >>> Message.of("msg-001", {"orderId": "123"})
    Message(message_id='msg-001', content=b'{"orderId":"123"}')
    """

    message_id: str
    content: bytes

    @classmethod
    def of(cls, message_id: str | int, value: Any) -> Self:
        """Make a message of a Python value that has a form in JSON.

        Raises `TypeError` and `ValueError` where it has none, as NaN has not.
        """
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return cls(str(message_id), text.encode())


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
        return json.loads(self.content)
