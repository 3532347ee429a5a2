"""A message as a consumer of a group gets it: it can be refused."""

from collections.abc import Callable, Mapping
from typing import Any

from pandaq_sdk.batch import Message


class GroupMessage:
    """A message of one of the partitions of a `GroupConsumer`.

    It has all that a `Message` has, and `partition_id`.
    """

    __slots__ = ("_message", "_refuse", "partition_id")

    def __init__(
        self, message: Message, partition_id: int, refuse: Callable[[str, int | None], bool]
    ) -> None:
        self._message = message
        self._refuse = refuse
        self.partition_id = partition_id

    @property
    def topic_id(self) -> str:
        """The topic."""
        return self._message.topic_id

    @property
    def message_id(self) -> str:
        """The id that the producer gave it."""
        return self._message.message_id

    @property
    def content(self) -> Any:
        """Any JSON value."""
        return self._message.content

    @property
    def offset(self) -> int:
        """Where it stands in its partition."""
        return self._message.offset

    @property
    def key(self) -> str | None:
        """What routed it in place of its id, if anything."""
        return self._message.key

    @property
    def headers(self) -> Mapping[str, str]:
        """What the producer said beside the content."""
        return self._message.headers or {}

    @property
    def attempts(self) -> int:
        """How often this group has refused it."""
        return self._message.attempts

    @property
    def timestamp(self) -> str | None:
        """When its partition got it: ISO 8601, UTC."""
        return self._message.timestamp

    def nack(self, reason: str = "", delay_ms: int | None = None) -> bool:
        """Refuse it: a copy comes again behind the others, later each time, for this group alone.

        After the topic's `maxAttempts` it goes to the topic's dead letters instead. Without
        `delay_ms`, the topic's `retry` says how long it stays away. The loop goes on as if it had
        been handled. False where the partition is another's by now, who gets the message anyway.
        """
        return self._refuse(reason, delay_ms)

    def __repr__(self) -> str:
        return f"GroupMessage(partition_id={self.partition_id}, {self._message!r})"
