"""Messages as a consumer sees them, and how far they reach in their partition."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
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
        messages=tuple(_messages_from(answer)),
        start_offset=answer.integer("startOffset"),
        end_offset=answer.integer("endOffset"),
    )


# This runs for every message that is ever consumed. A frozen dataclass sets its fields by name
# through object.__setattr__; the setters of its slots do the same in half the time.
_new = object.__new__
_setters: list[Callable[[Message, Any], None]] = [
    vars(Message)[field.name].__set__ for field in fields(Message)
]
_PROMISED = 4  # fields, in the contract


def _messages_from(answer: Answer) -> Iterator[Message]:
    to_topic_id, to_message_id, to_content, to_offset, to_key, to_headers, to_timestamp = _setters
    for each in answer.objects("messages"):
        topic_id, message_id, offset = (
            each.get("topicId"),
            each.get("messageId"),
            each.get("offset"),
        )
        if (
            type(topic_id) is not str
            or type(message_id) is not str
            or type(offset) is not int  # true is none
            or "content" not in each
        ):
            topic_id, message_id, offset = _read_one_by_one(answer.part(each))
        message = _new(Message)
        to_topic_id(message, topic_id)
        to_message_id(message, message_id)
        to_content(message, each["content"])
        to_offset(message, offset)
        key = headers = timestamp = None
        if len(each) > _PROMISED:
            # No promise of the contract: one of another type is as good as absent.
            key = _if_is(str, each.get("key"))
            headers = _if_is(dict, each.get("headers"))
            timestamp = _if_is(str, each.get("timestamp"))
        to_key(message, key)
        to_headers(message, headers)
        to_timestamp(message, timestamp)
        yield message


def _if_is(kind: type, value: object) -> object:
    return value if isinstance(value, kind) else None


def _read_one_by_one(message: Answer) -> tuple[str, str, int]:
    # Slower, and raises an error that names the field.
    message.value("content")
    return message.text("topicId"), message.text("messageId"), message.integer("offset")
