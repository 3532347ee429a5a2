"""What the tests of actors play on: a small broker's files, clock, messages and references."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import pykka

from pandaq.actors.messages import AppendRouted
from pandaq.actors.reply import Reply
from pandaq.batch import Batch
from pandaq.config import Config, Retention, TopicConfig
from pandaq.message import Message
from pandaq.routing import partition_for
from tests.messages import encoded

DATA: Final = Path("/data")
INGRESS_LOG: Final = DATA / "ingress.log"
CHECKPOINT: Final = DATA / "ingress_metadata.log"
TPC_LOG: Final = DATA / "TPC.log"
ORDERS: Final = DATA / "topics" / "topic_orders"
JOURNAL: Final = ORDERS / "orders_partition_metadata.log"

ALL: Final = 1_000_000
NEVER_MS: Final = 600_000


def partition_log(number: int) -> Path:
    return ORDERS / f"partition_{number}.log"


def small_config(**settings: Any) -> Config:
    """Return a configuration in which nothing is due by time, with what a test wants changed."""
    defaults: dict[str, Any] = {
        "topics": [TopicConfig("orders", 2), TopicConfig("events", 1)],
        "data_dir": DATA,
        "segment_bytes": 512,
        "tail_bytes": 0,
        "checkpoint_interval_ms": NEVER_MS,
        "interval_ms": NEVER_MS,
        "sync_interval_ms": NEVER_MS,
        "ask_timeout_ms": 5_000,
        "retention": Retention(max_age_ms=None),
    }
    return Config(**(defaults | settings))


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now_ms = 1_700_000_000_000

    def __call__(self) -> int:
        return self.now_ms


class FakeTime:
    """The `time` of a module: passes only where somebody waits for it."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.sleeps: list[float] = []

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now_s += seconds


class FakeRef:
    """A reference to an actor that is not there: answers by a function, keeps what it was sent."""

    def __init__(self, answer: Callable[[Any], Any] = lambda _message: None) -> None:
        self.answer = answer
        self.asked: list[Any] = []
        self.told: list[Any] = []
        self.alive = True

    def ask(self, message: Any, *, block: Literal[False]) -> Reply[Any]:
        self.asked.append(message)
        future: Reply[Any] = Reply()
        try:
            self._check()
            future.set(self.answer(message))
        except Exception:  # noqa: BLE001 (it is for the asker)
            future.set_exception()
        return future

    def tell(self, message: Any) -> None:
        self._check()
        self.told.append(message)

    def is_alive(self) -> bool:
        return self.alive

    def stop(self, *, block: Literal[True], timeout: float | None) -> bool:
        self.alive = False
        return True

    def _check(self) -> None:
        if not self.alive:
            raise pykka.ActorDeadError


def answering(value: Any) -> FakeRef:
    """Return a reference to an actor that gives every message the same answer."""
    return FakeRef(lambda _message: value)


def failing(error: Exception) -> FakeRef:
    """Return a reference to an actor that answers every message with an error."""

    def fail(_message: Any) -> None:
        raise error

    return FakeRef(fail)


def told(actor: pykka.ThreadingActor) -> list[Any]:
    """Return what an actor without a thread has told itself since the last look."""
    messages = []
    while not actor.actor_inbox.empty():
        messages.append(actor.actor_inbox.get().message)
    return messages


def is_answered(future: Reply[Any]) -> bool:
    """Tell whether a future has its value or its error."""
    try:
        future.get(timeout=0)
    except pykka.Timeout:
        return False
    except Exception:  # noqa: BLE001 (an error is an answer)
        return True
    return True


def message(message_id: str | int, size: int = 0) -> Message:
    """Return a message whose content has about so many bytes."""
    return Message.of(message_id, "x" * size)


def body(message_id: str, size: int = 0, topic_id: str = "orders") -> bytes:
    """Return a message as it goes into the ingress log."""
    return topic_id.encode() + b"|" + payload(message_id, size)


def payload(message_id: str, size: int = 0) -> bytes:
    """Return a message as it goes into its partition's log."""
    return encoded(message(message_id, size))


def ids(batch: Batch) -> list[str]:
    """Return the messageIds of a batch of either log."""
    return [msgspec.json.decode(b'"%b"' % line.split(b"|")[3]) for line in batch.lines]


def offsets_of(batch: Batch) -> list[int]:
    """Return the offsets that the lines of a partition's batch have."""
    return [int(line.split(b"|")[2]) for line in batch.lines]


def ids_for(partition: int, count: int, partitions: int = 2) -> list[str]:
    """Return so many messageIds that are routed to a partition."""
    found: list[str] = []
    number = 0
    while len(found) < count:
        if partition_for(str(number).encode(), partitions) == partition:
            found.append(str(number))
        number += 1
    return found


def routed(*messages: tuple[int, bytes]) -> AppendRouted:
    """Return the message that brings these, by their offsets in the ingress log."""
    return AppendRouted([offset for offset, _ in messages], [payload for _, payload in messages])


def numbered(message_ids: Sequence[str], first: int = 1) -> list[tuple[int, bytes]]:
    """Return messages on their way to a partition, at consecutive offsets of the ingress log."""
    return [(offset, payload(id_)) for offset, id_ in enumerate(message_ids, first)]
