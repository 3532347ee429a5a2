"""The sending side: messages into one topic."""

from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from typing import Any, Self, Unpack

from pandaq_sdk.connection import Connection, ConnectionOptions, path_segment
from pandaq_sdk.envelope import encode
from pandaq_sdk.errors import NotEncodable
from pandaq_sdk.line import IngressLine
from pandaq_sdk.outbox import OutboxLimits
from pandaq_sdk.receipt import Produced, ProducedBatch, produced_batch_from, produced_from
from pandaq_sdk.sender import Sender


class Producer:
    """Sends messages into one topic, and says when they are on the broker's disk.

        with Producer("broker_1", "http://localhost:3000", "orders") as producer:
            producer.produce({"messageId": "msg-001", "content": {"amount": 99.99}})
            producer.produce_batch(
                {"messageId": f"msg-{n:03}", "content": n} for n in range(2, 100)
            )
            future = producer.send({"messageId": "msg-100", "content": 100})
            future.result()  # now this one is on the disk, too

    A message is a mapping with `messageId` (text or an integer) and `content` (any JSON value). It
    may have a `key`, which routes it in place of the id, so that messages with one key stay in
    order; `headers`, an object of strings; `delayMs` or `deliverAt` (ms since 1970), not to be
    consumed before; and `ttlMs`, not to be consumed after.

    `produce` and `produce_batch` are one request each and return with its answer. `send` returns
    at once and makes batches in the background, which is the fastest way for messages that come
    one by one.

    **Retries may duplicate.** After a connection error, a timeout or a 503 the broker may have
    kept the messages although no answer said so, and sending them again writes them again:
    delivery is at least once. Consumers that mind should look at the messageId. With `retries=0`
    nothing is sent twice: the error reaches the caller, who then does not know the outcome of a
    `ConnectionFailed` or an `OutcomeUnknown`.

    Constructing does no I/O. An instance is for one thread, but for `send` and `flush`, which any
    thread may call; the processes of a fork need instances of their own. Keyword arguments, for
    `send`:

    - `linger_ms` (2): how long a batch waits for more after its first message.
    - `batch_max` (500) and `batch_max_bytes` (1,000,000): the messages and bytes of JSON with
      which a batch is full and goes out at once. A larger message goes alone.
    - `buffer_max` (20,000) and `buffer_max_bytes` (32 MiB): the messages and bytes of JSON that
      may wait or be on their way before `send` blocks. In memory each message takes about 2 KiB
      more than its JSON.
    - `send_timeout_s` (30): how long `send` blocks then, before it raises `SendBufferFull`.

    And `username`, `password`, `token`, `timeout_s`, `retries`, `max_retry_delay_s`, `sleep`,
    `jitter`; see `ConnectionOptions`. Raises `ValueError` for arguments that cannot be right.
    """

    def __init__(
        self,
        broker_id: str,
        base_url: str,
        topic_id: str,
        *,
        linger_ms: float = OutboxLimits.linger_ms,
        batch_max: int = OutboxLimits.batch_max,
        batch_max_bytes: int = OutboxLimits.batch_max_bytes,
        buffer_max: int = OutboxLimits.buffer_max,
        buffer_max_bytes: int = OutboxLimits.buffer_max_bytes,
        send_timeout_s: float = 30.0,
        **options: Unpack[ConnectionOptions],
    ) -> None:
        self.broker_id = broker_id
        self.topic_id = topic_id
        self._path = f"/ingress/{path_segment('topic_id', topic_id)}"
        self._connection = Connection(base_url, **options)
        self._sender = Sender(
            IngressLine(lambda: Connection(base_url, **options), self._path, broker_id),
            OutboxLimits(linger_ms, batch_max, batch_max_bytes, buffer_max, buffer_max_bytes),
            send_timeout_s,
        )

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

    def send(self, message: Mapping[str, Any]) -> "Future[Produced]":
        """Take one message to be sent in the background; return the future of its receipt.

            future = producer.send({"messageId": "msg-001", "content": 1})
            future.add_done_callback(lambda done: print(done.exception() or done.result()))

        Any thread may call it. Messages are sent in the order of the calls, one batch at a time.
        Raises `NotEncodable`, `SendBufferFull`, `ClientClosed` and `SenderStopped`; the message
        was not taken then. What becomes of a message that was taken, its future tells:

        - It is on the disk: a `Produced`.
        - The broker will not have it: `InvalidRequest` or `PayloadTooLarge`. Others of its batch
          are not concerned: a refused batch is sent again in halves until the culprit is alone.
        - The batch failed after all retries: the error that `produce` would raise. **Later batches
          are tried all the same**, so a message sent again after such an error is behind those
          that were sent after it. Where order matters more, wait for a result before going on.
        - It was cancelled before its batch was put together, and is not sent.

        Callbacks run in the background thread, between two batches: keep them short. There `send`
        never blocks. It finds room for as much as the batch just answered had, so that each
        message may be sent once more; beyond that it raises `SendBufferFull` at once.

        The first call starts the thread. A program that ends without `close` gives it five
        seconds to send what is left; a message not answered by then gets `SenderStopped`.
        """
        fields = _checked(message, "message")
        return self._sender.send(encode(fields, "message"), fields.get("messageId"))

    def flush(self, timeout_s: float | None = None) -> None:
        """Wait until everything sent so far is answered, without lingering.

        The outcomes are in the futures, errors too. Any thread may call it. Raises
        `FlushTimedOut` after `timeout_s` seconds, and at once in a future's callback, where
        waiting would be for ever; None waits as long as the retries of each batch may take.
        """
        self._sender.flush(timeout_s)

    def close(self) -> None:
        """Send what was given to `send`, then close; afterwards all raise `ClientClosed`.

        It waits for a broker that is away as long as the retries of one batch take; then all that
        is left gets the same error. Every future is done when it returns. Leaving the `with` block
        closes, also when the block raised. Closing again does nothing.
        """
        try:
            self._sender.close()
        finally:
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
    if isinstance(message, dict):
        return message
    if not isinstance(message, Mapping):
        raise NotEncodable(
            what, f"it is {message!r:.100}, not a mapping with messageId and content"
        )
    return dict(message)
