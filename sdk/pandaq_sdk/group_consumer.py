"""The receiving side for many: consumers that share the partitions of a topic, and come and go."""

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Literal, Self, Unpack

from pandaq_sdk.batch import Batch, Message
from pandaq_sdk.connection import Connection, ConnectionOptions
from pandaq_sdk.errors import (
    ClientClosed,
    ConnectionFailed,
    InvalidOffset,
    NotAssigned,
    PandaqSdkError,
    Unavailable,
)
from pandaq_sdk.fetcher import LONGEST_PAUSE_S, Fetcher
from pandaq_sdk.group_calls import Assignment, GroupCalls, Identity
from pandaq_sdk.group_message import GroupMessage
from pandaq_sdk.membership import Membership
from pandaq_sdk.retry import backoff_s

_LOOK_S = 0.5  # on Windows, a wait without a timeout would not let Ctrl-C through
_JOIN_S = 2.0

OnChange = Callable[[Sequence[int]], None]


class GroupConsumer:
    """Receives the messages of its share of a topic's partitions, at least once.

        with GroupConsumer(
            "http://localhost:3000", "broker_1", "worker-7", "orders", group="billing"
        ) as consumer:
            for message in consumer:
                try:
                    handle(message.content)
                except Rejected as error:
                    message.nack(str(error))

    All consumers of a group divide the partitions among them, and each message goes to one of
    them. Start as many as there are partitions, on as many machines as you like, each with a
    `consumer_id` of its own: whoever comes gets its share, what a dead one had goes to the others
    when its lease is over (`lease_ms`), and what one that leaves had goes to them at once.

    The loop never ends by itself. A message counts as handled once the loop asks for the one after
    it; what was handled is committed after each batch, and in `close`. A partition may go to
    another consumer at any time: what was not committed by then comes to that one again, and the
    rest of the batch is not handed out here any more.

    A lease is kept in the background, however long handling a message takes. A broker that is
    away is waited for, once the group was joined. It takes a thread and a connection for each
    partition that it has, and fetches one batch of each ahead.

    Constructing does no I/O; the loop joins the group, as `join` does. An instance is for one
    thread. Keyword arguments: `group` (empty: the unnamed one); `lease_ms` (10,000); `start`,
    where a new group begins in the log (`"beginning"` or `"end"`); `poll_wait_ms` and
    `poll_max_messages`, how long a poll of a partition waits for messages and how many it takes;
    `on_assigned` and `on_revoked`, called with the numbers of partitions, by the loop, between two
    messages; and `username`, `password`, `token`, `timeout_s`, `retries`, `max_retry_delay_s`,
    `sleep`, `jitter`, see `ConnectionOptions`. Raises `ValueError` for arguments that cannot be
    right.
    """

    def __init__(
        self,
        base_url: str,
        broker_id: str,
        consumer_id: str,
        topic_id: str,
        *,
        group: str = "",
        lease_ms: int = 10_000,
        start: Literal["beginning", "end"] = "beginning",
        poll_wait_ms: int = 5000,
        poll_max_messages: int = 500,
        on_assigned: OnChange = lambda _: None,
        on_revoked: OnChange = lambda _: None,
        **options: Unpack[ConnectionOptions],
    ) -> None:
        for name, value in (
            ("lease_ms", lease_ms),
            ("poll_max_messages", poll_max_messages),
            ("poll_wait_ms", poll_wait_ms),
        ):
            if value < 1:
                raise ValueError(f"{name} is {value}; it must be 1 or more")
        self.identity = Identity(broker_id, topic_id, group, consumer_id)
        self._base_url = base_url
        self._options = options
        self._connect().close()  # raises for options that cannot be right
        self._calls = GroupCalls(self.identity, self._connect)
        self._poll = {"max_messages": poll_max_messages, "wait_ms": poll_wait_ms}
        self._on_assigned = on_assigned
        self._on_revoked = on_revoked
        self._inbox: queue.SimpleQueue[tuple[Fetcher, Batch] | PandaqSdkError | None] = (
            queue.SimpleQueue()
        )
        self._membership = Membership(
            GroupCalls(self.identity, self._connect), lease_ms, start, self._hear, self._inbox.put
        )
        self._lock = threading.Lock()
        self._heard: Assignment = {}
        self._fetchers: dict[int, Fetcher] = {}
        self._told: set[int] = set()
        self._in_hand: Fetcher | None = None
        self._handled: int | None = None
        self._is_closed = False

    @property
    def partitions(self) -> list[int]:
        """The partitions that it has, as far as it has heard."""
        with self._lock:
            return sorted(self._heard)

    def join(self) -> None:
        """Join the group, and begin to fetch; the loop does so by itself.

        Raises `NotFound` for a topic or broker that is not there, `ConnectionFailed` where there is
        no answer, and other `BrokerError`s. Joining again does nothing.
        """
        if self._is_closed:
            raise ClientClosed
        if not self._membership.has_joined:
            self._membership.join()

    def __iter__(self) -> Iterator[GroupMessage]:
        """Yield messages without end, committing as the class says; raises what cannot be mended.

        That is: the broker does not know the topic any more, or refuses the credentials.
        """
        self.join()
        self._finish()  # what a loop before this one has left
        while not self._is_closed:
            self._tell()
            try:
                item = self._inbox.get(timeout=_LOOK_S)
            except queue.Empty:
                continue
            match item:
                case None:
                    continue
                case PandaqSdkError():
                    raise item
                case (fetcher, batch):
                    yield from self._handing_out(fetcher, batch)

    def close(self) -> None:
        """Commit what the loop has handled, leave the group, and close; again, it does nothing.

        What was not committed comes to others at once.
        """
        if self._is_closed:
            return
        self._is_closed = True
        try:
            self._commit(until_told=False)
        finally:
            self._membership.leave()
            with self._lock:
                fetchers = list(self._fetchers.values())
                self._fetchers, self._heard = {}, {}
            for fetcher in fetchers:
                fetcher.stop()
            for fetcher in fetchers:
                fetcher.join(_JOIN_S)
            self._calls.close()
            self._tell()

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

    def _connect(self) -> Connection:
        return Connection(self._base_url, **self._options)

    # -- what is assigned

    def _hear(self, assignment: Assignment) -> None:
        """Take note of an assignment: nothing more is handed out of what has gone."""
        with self._lock:
            if self._is_closed:
                return
            self._heard = assignment
            for number, fetcher in list(self._fetchers.items()):
                if assignment.get(number) != fetcher.generation or not fetcher.is_current:
                    fetcher.stop()
                    del self._fetchers[number]
            for number, generation in assignment.items():
                if number not in self._fetchers:
                    self._fetchers[number] = self._fetcher(number, generation)
                    self._fetchers[number].start()
        self._inbox.put(None)  # The loop tells of it.

    def _fetcher(self, partition_id: int, generation: int) -> Fetcher:
        return Fetcher(
            partition_id,
            generation,
            GroupCalls(self.identity, self._connect),
            **self._poll,
            fetched=lambda fetcher, batch: self._inbox.put((fetcher, batch)),
            revoked=self._membership.refresh,
            failed=self._inbox.put,
        )

    def _tell(self) -> None:
        """Call back for what has come and gone since the last time."""
        with self._lock:
            now = set(self._heard)
        gone, come = sorted(self._told - now), sorted(now - self._told)
        self._told = now
        if gone:
            self._on_revoked(gone)
        if come:
            self._on_assigned(come)

    # -- what is in hand

    def _handing_out(self, fetcher: Fetcher, batch: Batch) -> Iterator[GroupMessage]:
        self._in_hand, self._handled = fetcher, None
        for message in batch.messages:
            if not fetcher.is_current:
                break
            self._tell()
            yield GroupMessage(message, fetcher.partition_id, self._refusing(fetcher, message))
            # Here the next one was asked for. A break or an error never comes here.
            self._handled = message.offset
        else:
            self._handled = batch.end_offset
        self._finish()

    def _finish(self) -> None:
        """Commit what was handled of the batch in hand, then fetch on."""
        fetcher = self._in_hand
        if fetcher is not None:
            self._commit(until_told=True)
            self._in_hand = None
            fetcher.go_on()

    def _commit(self, *, until_told: bool) -> None:
        """Commit what was handled; where the broker is away, wait for it, or raise."""
        fetcher, handled, failures = self._in_hand, self._handled, 0
        while fetcher is not None and handled is not None and fetcher.is_current:
            try:
                self._calls.commit(fetcher.partition_id, fetcher.generation, handled)
            except (NotAssigned, InvalidOffset):
                # Another has it, or somebody moved on without us: it would be refused for ever.
                fetcher.stop()
                self._membership.refresh()
            except (ConnectionFailed, Unavailable):
                if not until_told:
                    raise
                threading.Event().wait(backoff_s(failures, LONGEST_PAUSE_S))
                failures += 1
                continue
            self._handled = handled = None

    def _refusing(self, fetcher: Fetcher, message: Message) -> Callable[[str, int | None], bool]:
        def refuse(reason: str, delay_ms: int | None) -> bool:
            if not fetcher.is_current:
                return False
            where = fetcher.partition_id, fetcher.generation
            try:
                self._calls.nack(*where, message.offset, reason, delay_ms)
            except NotAssigned:
                fetcher.stop()
                self._membership.refresh()
                return False
            return True

        return refuse
