"""The sending side: messages into one topic."""

from collections.abc import Iterable, Mapping
from typing import Any, Self, Unpack

from pandaq_sdk.connection import Connection, ConnectionOptions, path_segment
from pandaq_sdk.envelope import encode
from pandaq_sdk.errors import NotEncodable
from pandaq_sdk.receipt import Produced, ProducedBatch, produced_batch_from, produced_from


class Producer:
    """Sends messages into one topic; they are on the broker's disk when a call returns.

        with Producer("broker_1", "http://localhost:3000", "orders") as producer:
            producer.produce({"messageId": "msg-001", "content": {"amount": 99.99}})
            producer.produce_batch(
                {"messageId": f"msg-{n:03}", "content": n} for n in range(2, 100)
            )

    A message is a mapping with `messageId` (text or an integer) and `content` (any JSON value);
    further fields are sent as they are. A batch is far cheaper than as many single messages.

    **Retries may duplicate.** After a connection error, a timeout or a 503 the broker may have
    kept the messages although no answer said so, and sending them again writes them again:
    delivery is at least once. Consumers that mind should look at the messageId. With `retries=0`
    nothing is sent twice: the error reaches the caller, who then does not know the outcome of a
    `ConnectionFailed` or an `OutcomeUnknown`.

    Constructing does no I/O. An instance is for one thread; give every thread its own. Keyword
    arguments: `username`, `password`, `token`, `timeout_s`, `retries`, `max_retry_delay_s`,
    `sleep`, `jitter`; see `ConnectionOptions`. Raises `ValueError` for arguments that cannot be
    right.
    """

    def __init__(
        self, broker_id: str, base_url: str, topic_id: str, **options: Unpack[ConnectionOptions]
    ) -> None:
        self.broker_id = broker_id
        self.topic_id = topic_id
        self._path = f"/ingress/{path_segment('topic_id', topic_id)}"
        self._connection = Connection(base_url, **options)

    def produce(self, message: Mapping[str, Any]) -> Produced:
        """Send one message and return once it is on the broker's disk.

        Raises `NotEncodable` before anything is sent, `InvalidRequest`, `NotFound`,
        `PayloadTooLarge`, `BufferFull`, `StorageFull` and other `BrokerError`s when it was
        refused, and `ConnectionFailed` or `OutcomeUnknown` when it may or may not have been kept.
        """
        body = {"brokerId": self.broker_id, "message": _checked(message, "message")}
        return produced_from(
            self._connection.call("POST", self._path, body=encode(body, "message"))
        )

    def produce_batch(self, messages: Iterable[Mapping[str, Any]]) -> ProducedBatch:
        """Send messages, all or none, and return once they are on the broker's disk.

        Raises what `produce` does, and `ValueError` for no messages at all.
        """
        batch = [_checked(each, f"messages[{index}]") for index, each in enumerate(messages)]
        if not batch:
            raise ValueError(
                "produce_batch was given no messages; there is nothing to send, so do not call it"
            )
        answer = self._connection.call("POST", self._path, body=self._encoded(batch))
        return produced_batch_from(answer)

    def close(self) -> None:
        """Close the connection; closing again does nothing, producing raises `ClientClosed`."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _encoded(self, batch: list[dict[str, Any]]) -> bytes:
        try:
            return encode({"brokerId": self.broker_id, "messages": batch}, "the batch")
        except NotEncodable:
            for index, message in enumerate(batch):
                encode(message, f"messages[{index}]")  # raises for the one that is to blame
            raise


def _checked(message: Mapping[str, Any], what: str) -> dict[str, Any]:
    if not isinstance(message, Mapping):
        raise NotEncodable(
            what, f"it is {message!r:.100}, not a mapping with messageId and content"
        )
    return dict(message)
