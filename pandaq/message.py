"""The values that travel: a message on its way in, and a record on its way out."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from msgspec import Struct


class Message(Struct, frozen=True, gc=False):
    """A message to produce: its id, and its content as JSON text (UTF-8).

    `key` routes in place of the id; `headers` come back as they are. It is routed after `delay_ms`,
    or at `deliver_at` (ms since 1970), and not given to consumers `ttl_ms` after it was appended.

    >>> Message.of("msg-001", {"orderId": "123"}, key="customer-7").content
    b'{"orderId":"123"}'
    """

    message_id: str
    content: bytes
    key: str | None = None
    headers: Mapping[str, str] | None = None
    delay_ms: int | None = None
    deliver_at: int | None = None
    ttl_ms: int | None = None

    @classmethod
    def of(
        cls,
        message_id: str | int,
        value: Any,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        delay_ms: int | None = None,
        deliver_at: int | None = None,
        ttl_ms: int | None = None,
    ) -> Self:
        """Make a message of a Python value that has a form in JSON.

        Raises `TypeError` and `ValueError` where it has none, as NaN has not.
        """
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return cls(str(message_id), text.encode(), key, headers, delay_ms, deliver_at, ttl_ms)


@dataclass(frozen=True, slots=True)
class Record:
    """A message as its partition keeps it.

    `timestamp_ms` is when the partition got it (ms since 1970); `attempts`, how often it was
    refused by the group that reads it.
    """

    topic_id: str
    partition_id: int
    offset: int
    message_id: str
    content: bytes
    key: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    attempts: int = 0
    timestamp_ms: int = 0

    @property
    def value(self) -> Any:
        """The content as a Python value."""
        return json.loads(self.content)
