"""Messages as a consumer sees them, and how far they reach in their partition."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from pandaq_sdk.envelope import Answer, Fields

T = TypeVar("T")


class Message(Struct, frozen=True, rename="camel"):
    """One message of a partition.

    `content` is any JSON value, `None`, `False`, `0` and `""` included; `offset` is what to
    commit once the message and all before it were handled. `key` and `headers` are those of its
    producer; `timestamp` is when its partition got it (ISO 8601, UTC). They are None where the
    broker sends none. `attempts` counts how often the group that reads it has refused it.
    """

    topic_id: str
    message_id: str
    content: Any
    offset: int
    key: str | None = None
    headers: dict[str, Any] | None = None
    timestamp: str | None = None
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """Messages that were read and not committed; false when there are none.

        batch = consumer.batch_consume()
        for message in batch:
            handle(message)
        consumer.commit_offset(batch.end_offset)

    `messages` are in the order of their offsets. `start_offset` is the readOffset that they
    start behind; `end_offset` is the offset of the last one, and what to commit. An empty batch
    has both at the readOffset, so that committing it changes nothing; where damage to the broker's
    disk has cost all that was left, its `end_offset` is behind that, and committing passes over it.
    """

    messages: tuple[Message, ...]
    start_offset: int
    end_offset: int

    @property
    def count(self) -> int:
        """How many messages there are."""
        return len(self.messages)

    def __len__(self) -> int:
        return len(self.messages)

    def __iter__(self) -> Iterator[Message]:
        return iter(self.messages)


def batch_from(answer: Answer) -> Batch:
    """Return the batch of a consume's answer, single or not; raises `UnexpectedAnswer`."""
    found = answer.as_type(_batch)
    if found is None:
        messages = tuple(_message_from(answer.part(each)) for each in answer.objects("messages"))
        return Batch(messages, answer.integer("startOffset"), answer.integer("endOffset"))
    several = found.messages if isinstance(found.messages, list) else [found.messages]
    return Batch(tuple(filter(None, several)), found.start_offset, found.end_offset)


class _Batch(Struct, rename="camel"):
    """A batch as the contract has it."""

    messages: list[Message] | Message | None
    start_offset: int
    end_offset: int


_batch = msgspec.json.Decoder(_Batch)


def _message_from(fields: Fields) -> Message:
    # What is no promise of the contract is as good as absent where it is of another type.
    return Message(
        fields.text("topicId"),
        fields.text("messageId"),
        fields.value("content"),
        fields.integer("offset"),
        _if_is(str, fields.fields.get("key")),
        _if_is(dict, fields.fields.get("headers")),
        _if_is(str, fields.fields.get("timestamp")),
        _if_is(int, fields.fields.get("attempts")) or 0,
    )


def _if_is(kind: type[T], value: object) -> T | None:
    return value if isinstance(value, kind) else None
