"""The receiving side: one partition of a topic, and how far it was handled."""

import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self, Unpack

from pandaq_sdk.batch import Batch, Message, batch_from
from pandaq_sdk.connection import Connection, ConnectionOptions, path_segment
from pandaq_sdk.envelope import encode
from pandaq_sdk.errors import InvalidOffset, NotAssigned, PandaqSdkError
from pandaq_sdk.receipt import Committed, Registered, committed_from, registered_from
from pandaq_sdk.retry import backoff_s

_LONGEST_PAUSE_S = 1.0


class Consumer:
    """Receives the messages of one partition of a topic, at least once.

        with Consumer("http://localhost:3000", "broker_1", "consumer-1", "orders") as consumer:
            for message in consumer:
                handle(message.content)
                if enough():
                    consumer.commit_offset(message.offset)
                    break

    The loop waits for messages and never ends by itself; leave it with `break`. A message counts
    as handled once the loop asks for the one after it. What was handled is committed when the
    loop asks for the first message after a batch, at the start of a new loop, and in `close`,
    which leaving the `with` block calls. So:

    - When the body raises or breaks, the message in hand was *not* handled: it comes again, first,
      in the next loop of this or another process. To leave with it done, commit its offset.
    - Leaving the loop does no I/O. Without `with` or `close`, what was handled since the last
      commit comes again as well.
    - When the process dies, at most one batch comes again: `poll_max_messages` messages.

    Or step by step, committing what and when you want:

        batch = consumer.batch_consume(max_messages=100, wait_ms=5000)
        for message in batch:
            handle(message.content)
        consumer.commit_offset(batch.end_offset)

    Reading is a peek: until a commit, the same messages come again.

    Constructing does no I/O; the first call that needs a partition registers. All calls may safely
    be retried, and are. An instance is for one thread; give every thread its own, with its own
    consumer_id. Keyword arguments: `poll_wait_ms` and `poll_max_messages`, how long a loop's poll
    waits for messages and how many it takes; `clock`, seconds that only grow, for tests; and
    `username`, `password`, `token`, `timeout_s`, `retries`, `max_retry_delay_s`, `sleep`,
    `jitter`, see `ConnectionOptions`. Raises `ValueError` for arguments that cannot be right.
    """

    def __init__(
        self,
        base_url: str,
        broker_id: str,
        consumer_id: str,
        topic_id: str,
        *,
        poll_wait_ms: int = 5000,
        poll_max_messages: int = 500,
        clock: Callable[[], float] = time.monotonic,
        **options: Unpack[ConnectionOptions],
    ) -> None:
        _check_poll(poll_max_messages, poll_wait_ms)
        self.broker_id = broker_id
        self.consumer_id = consumer_id
        self.topic_id = topic_id
        self._topic = path_segment("topic_id", topic_id)
        self._broker = path_segment("broker_id", broker_id)
        self._poll_wait_ms = poll_wait_ms
        self._poll_max_messages = poll_max_messages
        self._clock = clock
        self._connection = Connection(base_url, **options)
        self._partition_id: int | None = None
        self._read_offset: int | None = None  # as the broker said last
        self._handled: int | None = None  # the last offset that is to be committed

    def register(self) -> Registered:
        """Ask the broker for a partition; asking again gives the same one as long as it is ours.

        Call it after a `NotAssigned`, to get another partition. Raises `NoPartitionAvailable`
        when others have them all, `NotFound` when there is no such topic or broker.
        """
        body = {"brokerId": self.broker_id, "consumerId": self.consumer_id}
        answer = self._connection.call(
            "POST", f"/register/{self._topic}", body=encode(body, "the registration")
        )
        registered = registered_from(answer)
        if registered.partition_id != self._partition_id:
            self._partition_id = registered.partition_id
            self._read_offset = self._handled = None
        return registered

    @property
    def partition_id(self) -> int:
        """The partition of this consumer; the first use registers, and raises what that does."""
        if self._partition_id is None:
            return self.register().partition_id
        return self._partition_id

    def consume(self) -> Batch:
        """Return the next message, as a batch of one, or an empty batch if there is none now."""
        return self._read("", wait_ms=0)

    def batch_consume(self, max_messages: int = 500, wait_ms: int = 0) -> Batch:
        """Return the next messages, at most `max_messages`.

        When there are none it answers empty after `wait_ms` milliseconds, or earlier if too many
        consumers wait already.
        """
        _check_poll(max_messages, wait_ms)
        return self._read(f"?b=t&max={max_messages}&wait={wait_ms}", wait_ms)

    def commit_offset(self, offset: int) -> Committed:
        """Commit that everything up to and including `offset` was handled.

        Committing the current readOffset again changes nothing. Raises `InvalidOffset` below it
        or beyond the end of the log, `NotAssigned` when another consumer has the partition.
        """
        body = {
            "brokerId": self.broker_id,
            "topicId": self.topic_id,
            "partitionId": self.partition_id,
            "consumerId": self.consumer_id,
            "offset": offset,
        }
        committed = committed_from(
            self._connection.call("POST", "/commit", body=encode(body, "the commit"))
        )
        self._read_offset = committed.new_read_offset
        if self._handled is not None and self._handled <= self._read_offset:
            self._handled = None
        return committed

    def __iter__(self) -> Iterator[Message]:
        """Yield messages without end, committing as the class says; raises what its calls do."""
        quick_answers = 0
        while True:
            self._commit_handled()
            asked_at_s = self._clock()
            batch = self.batch_consume(self._poll_max_messages, self._poll_wait_ms)
            if batch or batch.end_offset > batch.start_offset:
                quick_answers = 0
                yield from self._handing_out(batch)
            elif self._was_quick(self._clock() - asked_at_s):
                self._pause(quick_answers)
                quick_answers += 1
            else:
                quick_answers = 0

    def close(self) -> None:
        """Commit what a loop has handled, then close the connection; again, it does nothing.

        The connection is closed even if the commit raises; what was not committed comes again.
        """
        if self._connection.closed:
            return
        try:
            self._commit_handled()
        finally:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except PandaqSdkError as failed:
            if error is None:
                raise
            # What went wrong in the block matters more: a lost commit only repeats messages.
            error.add_note(f"What was handled before could not be committed either: {failed}")

    def _read(self, query: str, wait_ms: int) -> Batch:
        path = f"/consume/{self._broker}/{self._topic}/{self.partition_id}{query}"
        batch = batch_from(self._connection.call("GET", path, wait_s=wait_ms / 1000))
        self._read_offset = batch.start_offset
        return batch

    def _handing_out(self, batch: Batch) -> Iterator[Message]:
        partition_id = self._partition_id
        for message in batch.messages:
            yield message
            # Here the next one was asked for. A break or an error never comes here.
            if self._partition_id != partition_id:
                return  # the body registered anew: these offsets mean nothing in the new partition
            self._mark_handled(message.offset)
        self._mark_handled(batch.end_offset)

    def _mark_handled(self, offset: int) -> None:
        # The body may have committed this message, or more, itself; going back is refused.
        if self._read_offset is None or offset > self._read_offset:
            self._handled = offset

    def _commit_handled(self) -> None:
        if self._handled is None:
            return
        try:
            self.commit_offset(self._handled)
        except (NotAssigned, InvalidOffset):
            self._handled = None  # the partition moved on without us: it would be refused forever
            raise

    def _was_quick(self, elapsed_s: float) -> bool:
        wait_s = self._poll_wait_ms / 1000
        return wait_s == 0 or elapsed_s < wait_s / 2

    def _pause(self, quick_answers: int) -> None:
        # Between half of the backoff and all of it: it must not come out as no pause at all.
        retry = self._connection.retry
        retry.sleep(backoff_s(quick_answers, _LONGEST_PAUSE_S) * (1 + retry.jitter()) / 2)


def _check_poll(max_messages: int, wait_ms: int) -> None:
    if max_messages < 1:
        raise ValueError(f"max_messages is {max_messages}; it must be 1 or more")
    if wait_ms < 0:
        raise ValueError(f"wait_ms is {wait_ms}; it must be 0 (answer at once) or more")
