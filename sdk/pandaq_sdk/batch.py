"""Messages as a consumer sees them, and how far they reach in their partition."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pandaq_sdk.envelope import Answer


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a partition.

    `content` is any JSON value, `None`, `False`, `0` and `""` included; `offset` is what to
    commit once the message and all before it were handled. `key`, `headers` and `timestamp`
    (ISO 8601, UTC) are None unless the broker sends them.
    """

    topic_id: str
    message_id: str
    content: Any
    offset: int
    key: str | None = None
    headers: Mapping[str, Any] | None = None
    timestamp: str | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Messages that were read and not committed; false when there are none.

        batch = consumer.batch_consume()
        for message in batch:
            handle(message)
        consumer.commit_offset(batch.end_offset)

    `messages` are in the order of their offsets. `start_offset` is the readOffset that they
    start behind; `end_offset` is the offset of the last one, and what to commit. An empty batch
    has both at the readOffset, so that committing it changes nothing.
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
    return Batch(
        messages=tuple(_message_from(each) for each in answer.objects("messages")),
        start_offset=answer.integer("startOffset"),
        end_offset=answer.integer("endOffset"),
    )


def _message_from(answer: Answer) -> Message:
    # The last three are no promise of the contract: one of another type is as good as absent.
    key = answer.fields.get("key")
    headers = answer.fields.get("headers")
    timestamp = answer.fields.get("timestamp")
    return Message(
        topic_id=answer.text("topicId"),
        message_id=answer.text("messageId"),
        content=answer.value("content"),
        offset=answer.integer("offset"),
        key=key if isinstance(key, str) else None,
        headers=headers if isinstance(headers, dict) else None,
        timestamp=timestamp if isinstance(timestamp, str) else None,
    )
