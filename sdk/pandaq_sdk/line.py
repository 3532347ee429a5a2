"""The line that a producer's batches go over: a connection of its own, and the frame of a body."""

from collections.abc import Callable, Iterable

from pandaq_sdk.connection import Connection
from pandaq_sdk.envelope import Answer, encode


class IngressLine:
    """Requests with several messages into one topic; connects with the first.

        line = IngressLine(lambda: Connection(url), "/ingress/orders", "broker_1")
        line.append([b'{"messageId":"msg-001","content":1}'])

    For one thread, which makes, uses and closes the connection. Raises `NotEncodable` for a
    broker_id that is none.
    """

    def __init__(self, connect: Callable[[], Connection], path: str, broker_id: str) -> None:
        self._connect = connect
        self._path = path
        self._head = b'{"brokerId":%b,"messages":[' % encode(broker_id, "broker_id")
        self._connection: Connection | None = None

    def append(self, messages: Iterable[bytes]) -> Answer:
        """Send messages, each as its JSON, all or none; raises what `Connection.call` does."""
        if self._connection is None:
            self._connection = self._connect()
        body = b"%b%b]}" % (self._head, b",".join(messages))
        return self._connection.call("POST", self._path, body=body)

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.close()
