"""What producers ask of a broker."""

from collections.abc import Sequence

from pandaq.actors.asking import get, send, then
from pandaq.actors.calls import Calls
from pandaq.actors.messages import Append, CheckRoom
from pandaq.actors.reply import Reply
from pandaq.extra import Sent, extras_of, may_be_delayed
from pandaq.limits import check_messages
from pandaq.message import Message
from pandaq.records import SEPARATOR, encode_payloads


class Producing(Calls):
    """Appending messages."""

    def append(self, topic_id: str, messages: Sequence[Message]) -> Sequence[int]:
        """Append messages to a topic, all or none; they are durable when this returns.

        Returns the places of those that the topic had within its `dedupeWindowMs`, which are not
        appended again. Raises `InvalidRequest`, `PayloadTooLarge`, `BufferFull`, `DelayFull`,
        `StorageFull`, `StorageFailed`.
        """
        return get(self.begin_append(topic_id, messages), self._timeout_s)

    def begin_append(self, topic_id: str, messages: Sequence[Message]) -> Reply[Sequence[int]]:
        """As `append`, but wait for nothing: the reply is completed when they are durable.

        What is wrong with the messages is raised at once; what the disk says comes by the reply.
        """
        ids = [message.message_id for message in messages]
        contents = [message.content for message in messages]
        return self.begin_append_texts(topic_id, ids, contents, self.extras_of(messages))

    def extras_of(self, messages: Sequence[Sent]) -> list[bytes] | None:
        """Return the sixth field of each message; None where none has any.

        Raises `InvalidRequest`, `PayloadTooLarge`.
        """
        return extras_of(messages, self._clock(), self.config)

    def begin_append_texts(
        self,
        topic_id: str,
        ids: Sequence[str],
        contents: list[bytes],
        extras: Sequence[bytes] | None = None,
        *,
        are_json: bool = False,
    ) -> Reply[Sequence[int]]:
        """As `begin_append`, with the sixth fields that `extras_of` gives.

        `are_json` says that a decoder has found the contents to be JSON.
        """
        self._check_topic(topic_id)
        check_messages(ids, contents, self.config, are_json=are_json)
        bodies = encode_payloads(ids, contents, topic_id.encode() + SEPARATOR, extras)
        topic = self._configured.get(topic_id)
        append = Append(bodies)
        if topic and topic.dedupe_window_ms is not None:
            append = Append(bodies, topic_id, ids)
        crew, delayed = self._running, sum(map(may_be_delayed, extras or ()))
        if not delayed:
            return send(crew.ingress, append)
        check = send(crew.delay, CheckRoom(delayed))
        return then(check, lambda _: send(crew.ingress, append))
