"""A disk that fails at every call in turn, and a broker that is used from outside meanwhile.

    python -m tests.crash faults --seed 1 --lives 3

The seed makes a life: requests, cycles, a clean restart. It is lived once on a good disk, which
counts the calls of each operation, then again for every call and every way in which that can fail.
Requests go through the web's app, so what is judged is what a client gets.
"""

import argparse
import copy
import errno
import io
import json
import logging
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import pytest

from pandaq.actors import broker as broker_module
from pandaq.actors.messages import Cycle, Outcome
from pandaq.actors.system import System
from pandaq.config import Retention, TopicConfig
from pandaq.errors import StartError
from pandaq.routing import partition_for
from pandaq.storage import journal as journal_module
from pandaq.web.app import App
from tests.actors.stage import Clock, small_config
from tests.inline import spawn_inline
from tests.simulated_disk import Fault, Operation, SimulatedDisk

Partition = tuple[str, int]
Manner = Literal["EIO once", "EIO", "ENOSPC once", "ENOSPC", "full"]
Kind = Literal["lost", "duplicated", "reordered", "wrong codes", "broken"]

OPERATIONS: Final[tuple[Operation, ...]] = (
    *("open", "write", "truncate", "sync", "replace", "delete", "sync_folder", "list"),
    *("make_folder", "lock"),
)
NEEDS_ROOM: Final = ("open", "write", "truncate", "make_folder")
CONSUMERS: Final[dict[Partition, str]] = {
    ("orders", 0): "ann",
    ("orders", 1): "bob",
    ("events", 0): "eve",
}
TOPICS: Final = {"orders": 2, "events": 1, "spare": 2}
"""Nobody sends to the topic `spare`; its partitions are there to be registered for."""
SAID_AT_A_CLOSED_FILE: Final = "restart the broker"
MANY: Final = 10_000


class Broken(AssertionError):
    """A promise did not hold."""

    def __init__(self, kind: Kind, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind


class Blow(NamedTuple):
    """Which call fails, and how; the first is number 0."""

    operation: Operation
    number: int
    manner: Manner


class Answer(NamedTuple):
    """What a client gets."""

    status: int
    code: str
    error: str
    data: Any


def call(app: App, method: str, path: str, body: Any = None) -> Answer:
    """Make one request, without a socket."""
    data = b"" if body is None else json.dumps(body).encode()
    path, _, query = path.partition("?")
    environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query}
    environ |= {"CONTENT_TYPE": "application/json", "CONTENT_LENGTH": str(len(data))}
    statuses: list[str] = []

    def start_response(status: str, _headers: Any, _error: Any = None) -> None:
        statuses.append(status)

    text = b"".join(app({**environ, "wsgi.input": io.BytesIO(data)}, start_response))
    answer = json.loads(text)
    code, error = answer.get("errorCode", ""), answer.get("error", "")
    return Answer(int(statuses[0][:3]), code, error, answer.get("data"))


@dataclass
class Books:
    """What was sent and answered; tells what is served that should not be, and the other way."""

    sent: dict[Partition, list[str]] = field(default_factory=lambda: {at: [] for at in CONSUMERS})
    """All but what was refused for want of room, of which nothing may be kept."""
    acknowledged: set[str] = field(default_factory=set)
    seen: dict[Partition, dict[int, str]] = field(
        default_factory=lambda: {at: {} for at in CONSUMERS}
    )
    read: Counter[Partition] = field(default_factory=Counter)
    perhaps_read: Counter[Partition] = field(default_factory=Counter)

    def produced(self, topic: str, ids: Sequence[str], answer: Answer) -> None:
        if answer.code != "STORAGE_FULL":
            for id_ in ids:
                self.sent[topic, partition_for(id_.encode(), TOPICS[topic])].append(id_)
        if answer.status == 200:
            self.acknowledged.update(ids)

    def consumed(self, at: Partition, data: Any) -> None:
        start, seen = data["startOffset"], self.seen[at]
        if start < self.read[at]:
            raise Broken("broken", f"readOffset {start} of {at} was {self.read[at]} before")
        if start > max(self.read[at], self.perhaps_read[at]):
            raise Broken("broken", f"readOffset {start} of {at} is beyond every commit")
        self.read[at] = start
        for number, message in enumerate(data["messages"], start + 1):
            if message["offset"] != number:
                raise Broken("lost", f"a hole in {at} before {message['offset']}")
            if seen.setdefault(number, message["messageId"]) != message["messageId"]:
                raise Broken("reordered", f"{number} of {at} was {seen[number]}, is {message}")
        ids = [seen[number] for number in sorted(seen)]
        if len(ids) != len(set(ids)):
            raise Broken("duplicated", f"in {at}: {ids}")
        following = iter(self.sent[at])
        if not all(id_ in following for id_ in ids):
            raise Broken("reordered", f"{at} has {ids}, was sent {self.sent[at]}")

    def check_whole(self, at: Partition, data: Any) -> None:
        """Hold all of a partition against what is known, when everything is routed."""
        self.consumed(at, data)
        served = {message["messageId"] for message in data["messages"]}
        seen = self.seen[at]
        gone = {id_ for number, id_ in seen.items() if number > data["startOffset"]} - served
        gone |= (self.acknowledged & set(self.sent[at])) - set(seen.values())
        if gone:
            raise Broken("lost", f"{sorted(gone)} of {at}")


class Life:
    """A broker from its first start to its last, and what befalls it."""

    def __init__(self, seed: int, rounds: int, blow: Blow | None = None) -> None:
        self._choices = choices = random.Random(seed)
        self._seed, self._rounds, self._blow = seed, rounds, blow
        self._config = small_config(
            topics=[TopicConfig(*topic) for topic in TOPICS.items()],
            segment_bytes=choices.choice([256, 400, 600]),
            tail_bytes=choices.choice([0, 1 << 20]),
            checkpoint_bytes=choices.choice([1, 400]),
            batch_size=choices.choice([2, 1_000]),
            retention=Retention(max_age_ms=None, keep_committed=False),
        )
        self.disk = SimulatedDisk()
        self._watches = {op: self.disk.fail(op, after=1 << 60) for op in OPERATIONS}
        self.calls: dict[Operation, int] = {}
        """How often each operation was called before the disk was healed."""
        self._filled = 0
        self._fault = self._strike(blow) if blow else None
        self.books = Books()
        self.codes: Counter[str] = Counter()
        self._count = 0
        self._closed = self._accepts_nothing = False

    def run(self) -> None:
        """Live it, fail, be killed at every turn of it, get well and go on."""
        self._start()
        for consumer, topic in (("ann", "orders"), ("eve", "events")):
            self._register(topic, consumer)
        for number in range(self._rounds):
            for _ in range(3):
                self._produce(self._choices.choice(["orders", "events"]))
            self._cycle()
            self._produce("orders")
            for at in self._choices.sample(list(CONSUMERS), 2):
                self._commit(at, self._choices.random())
            self._cycle()
            if number == (self._rounds - 1) // 2:
                self._restart()
        for image in (
            self.disk.power_loss_worst(),
            self.disk.crash(random.Random(self._seed), entries_in_order=False),
        ):
            self._check_image(image)
        self._heal()
        self._get_well()
        self._restart()
        self._check_image(self.disk.power_loss_worst())
        self._system.abandon()

    @property
    def hits(self) -> int:
        """How often the disk failed."""
        return self._filled + (self._fault.hits if self._fault else 0)

    # -- the blow

    def _strike(self, blow: Blow) -> Fault:
        name = blow.manner.split()[0]
        number = errno.EIO if name == "EIO" else errno.ENOSPC
        error = OSError(number, os.strerror(number))
        if blow.manner == "full":
            return self.disk.fail("write", self._filling(blow.number), error=error)
        return self.disk.fail(
            blow.operation,
            error=error,
            after=blow.number,
            times=1 if blow.manner.endswith("once") else None,
            written=blow.number * 7 % 60,
        )

    def _filling(self, number: int) -> Callable[[Path], bool]:
        """Return a predicate that is no fault, but has the disk run full at a write."""
        calls = iter(range(number))

        def fill(_path: Path) -> bool:
            if next(calls, None) is None and not (self._filled or self.calls):
                self._filled = 1
                self.disk.capacity_bytes = self.disk.used_bytes + number * 7 % 60
            return False

        return fill

    def _heal(self) -> None:
        self.calls = self.calls or {op: watch._passed for op, watch in self._watches.items()}
        if self._fault:
            self._fault.lift()
        self.disk.capacity_bytes = None

    def _is_about_room(self) -> bool:
        """Whether all must work again as soon as there is room."""
        blow = self._blow
        return bool(blow and blow.operation == "write" and not blow.manner.startswith("EIO"))

    # -- what clients do

    def _call(self, method: str, path: str, body: Any = None) -> Answer:
        answer = call(self._app, method, path, body)
        self.codes[answer.code] += 1
        allowed = [(200, "")]
        # On a full disk only /health says 503: what it has no room for is refused with 507.
        if self.hits and not (method == "POST" and self._is_about_room()):
            allowed.append((503, "STORAGE_FAILED"))
        if self.hits and self._blow and not self._blow.manner.startswith("EIO"):
            allowed.append((507, "STORAGE_FULL"))
        if answer[:2] not in allowed:
            raise Broken("wrong codes", f"{method} {path}: {answer}")
        self._closed |= SAID_AT_A_CLOSED_FILE in answer.error
        if self._system.dead_actors():
            raise Broken("broken", f"dead: {self._system.dead_actors()}")
        return answer

    def _register(self, topic: str, consumer: str) -> bool:
        return self._call("POST", f"/register/{topic}", {"consumerId": consumer}).status == 200

    def _produce(self, topic: str, ids: Sequence[str] = ()) -> bool:
        if not ids:
            size = self._choices.choice([1, 1, 2, 5])
            ids = [f"m{self._count + number}" for number in range(size)]
            self._count += size
        messages = [
            {"messageId": id_, "content": "x" * self._choices.randint(0, 90)} for id_ in ids
        ]
        body = {"messages": messages} if len(ids) > 1 else {"message": messages[0]}
        answer = self._call("POST", f"/ingress/{topic}", body)
        self.books.produced(topic, ids, answer)
        if answer.status == 200 and self._accepts_nothing:
            raise Broken("broken", "messages are accepted that no cycle will route")
        return answer.status == 200

    def _consume(self, at: Partition) -> Any:
        answer = self._call("GET", f"/consume/broker_1/{at[0]}/{at[1]}?b=t&max={MANY}")
        if answer.status == 200:
            self.books.consumed(at, answer.data)
        elif not (self._blow and self._blow.operation == "open"):
            raise Broken("wrong codes", f"{at} cannot be read, though only writing fails: {answer}")
        return answer.data

    def _commit(self, at: Partition, share: float) -> bool:
        data = self._consume(at)
        if not data:
            return False
        offset = data["startOffset"] + round(data["count"] * share)
        body = {"topicId": at[0], "partitionId": at[1], "consumerId": CONSUMERS[at]}
        # It may have been written down, whatever the answer is.
        self.books.perhaps_read[at] = max(offset, self.books.perhaps_read[at])
        is_done = self._call("POST", "/commit", body | {"offset": offset}).status == 200
        if is_done:
            self.books.read[at] = offset
        return is_done

    def _health(self) -> bool:
        answer = self._call("GET", "/health")
        if answer.status == 503 and not answer.error.strip():
            raise Broken("wrong codes", "/health says nothing of what is wrong")
        is_for_good = SAID_AT_A_CLOSED_FILE in answer.error and "routing waits" in answer.error
        self._accepts_nothing |= is_for_good
        return answer.status == 200

    # -- what the broker does

    def _cycle(self) -> Outcome:
        assert self._system._crew
        for _ in range(MANY):
            outcome: Outcome = (
                self._system._crew.broker.ask(Cycle(), block=False).get(timeout=0).outcome
            )
            if outcome is not Outcome.MORE:
                break
        is_healthy = self._health()
        if is_healthy and (outcome is Outcome.BLOCKED or self._closed):
            raise Broken("broken", f"/health says that all is well; closed: {self._closed}")
        if not is_healthy and not self.hits:
            raise Broken("broken", "/health complains of a good disk")
        return outcome

    def _start(self) -> None:
        self._closed = self._accepts_nothing = False
        try:
            self._system = self._started(self.disk)
        except StartError as error:
            if not self.hits or "\n" in str(error) or "/data" not in str(error):
                raise Broken("broken", f"a start ended with: {error}") from error
            if self.disk.open_files or self.disk.held_locks:
                left = self.disk.open_files + self.disk.held_locks
                raise Broken("broken", f"left open: {left}") from error
            self.codes["start refused"] += 1
            self._heal()
            self._system = self._started(self.disk)
        self._app = App(self._system)

    def _started(self, disk: SimulatedDisk) -> System:
        system = System(self._config, disk=disk, clock=Clock(), spawn=spawn_inline)
        system.start()
        return system

    def _restart(self) -> None:
        self._system.stop()
        if self.disk.open_files or self.disk.held_locks:
            raise Broken("broken", f"a stop left open: {self.disk.open_files}")
        self._start()

    # -- what has to hold

    def _check_image(self, image: SimulatedDisk) -> None:
        """Start on what an end of power leaves, and look at all of it."""
        image.capacity_bytes = None
        try:
            system = self._started(image)
        except StartError as error:
            raise Broken("lost", f"a good disk cannot be started on: {error}") from error
        app, books = App(system), copy.deepcopy(self.books)
        for topic, number in CONSUMERS:
            path = f"/consume/broker_1/{topic}/{number}?b=t&max={MANY}"
            books.check_whole((topic, number), call(app, "GET", path).data)
        if call(app, "GET", "/health").status != 200:
            raise Broken("broken", f"unhealthy after an end of power: {system.problems()}")
        system.abandon()

    def _get_well(self) -> None:
        """See that a good disk is enough, or else a restart, and that /health knows which."""
        works, is_healthy = self._works("once"), self._health()
        if works != is_healthy:
            raise Broken("broken", f"works: {works}, /health: {self._system.problems()}")
        if not works:
            if self._is_about_room():
                raise Broken("broken", f"room does not help: {self._system.problems()}")
            self.codes["restart"] += 1
            self._restart()
            if not (self._works("again") and self._health()):
                raise Broken("broken", f"a restart does not help: {self._system.problems()}")
        for at in CONSUMERS:
            self.books.check_whole(at, self._consume(at))

    def _works(self, consumer: str) -> bool:
        """Use everything: route to each partition, commit there, and write an assignment."""
        done = [self._cycle() is Outcome.IDLE]
        for topic, number in CONSUMERS:
            ids = (f"{consumer}-{number}" for number in range(MANY))
            own = next(id_ for id_ in ids if self._is_for((topic, number), id_))
            done.append(self._produce(topic, [own]))
        done.append(self._cycle() is Outcome.IDLE)
        done += [self._commit(at, 1) for at in CONSUMERS]
        done += [self._register("spare", consumer), self._cycle() is Outcome.IDLE]
        return all(done)

    def _is_for(self, at: Partition, id_: str) -> bool:
        return partition_for(id_.encode(), TOPICS[at[0]]) == at[1] and not any(
            id_ in sent for sent in self.books.sent.values()
        )


@dataclass
class Tally:
    """What befell, and how it was met."""

    faults: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    lives: int = 0

    def __str__(self) -> str:
        by_operation = ", ".join(f"{name} {count}" for name, count in self.faults.most_common())
        found = ("lost", "duplicated", "reordered", "wrong codes", "broken")
        return f"{self.lives} lives, {self.faults.total()} faults ({by_operation}), " + ", ".join(
            f"{self.broken[kind]} {kind}" for kind in found
        )


def manners(operation: Operation) -> list[Manner]:
    """Return how a call of an operation may fail."""
    found: list[Manner] = ["EIO once", "EIO"]
    if operation in NEEDS_ROOM:
        found += ["ENOSPC once", "ENOSPC"]
    return [*found, "full"] if operation == "write" else found


def blows(seed: int, rounds: int) -> Iterator[Blow]:
    """Yield every call that a life makes, with every way in which it can fail."""
    life = Life(seed, rounds)
    life.run()
    for operation, count in life.calls.items():
        for number in range(count):
            yield from (Blow(operation, number, manner) for manner in manners(operation))


def survey(seed: int, rounds: int, every: int = 1) -> Tally:
    """Live a life once for each blow, or for one in `every`."""
    tally, choices = Tally(lives=1), random.Random(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(broker_module, "RETENTION_INTERVAL_S", 0)
        patch.setattr(journal_module, "REWRITE_BYTES", 300)
        for blow in blows(seed, rounds):
            if choices.randrange(every) == 0:
                meet(seed, rounds, blow, tally)
    return tally


def meet(seed: int, rounds: int, blow: Blow, tally: Tally) -> None:
    """Live a life in which one call fails."""
    life = Life(seed, rounds, blow)
    try:
        life.run()
    except Exception as error:  # noqa: BLE001 (whatever it is, the seed and the call replay it)
        tally.broken[error.kind if isinstance(error, Broken) else "broken"] += 1
        tally.failures.append(f"seed {seed}, {rounds} rounds, {blow}: {error!r}")
    tally.faults[blow.operation] += life.hits
    tally.codes += life.codes


def main(arguments: Sequence[str]) -> int:
    """Run the long form; see `tests.crash.__main__`."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash faults")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lives", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--every", type=int, default=1, help="only one in so many faults")
    options = parser.parse_args(arguments)
    logging.getLogger("pandaq").setLevel(logging.CRITICAL + 1)
    total = Tally()
    for seed in range(options.seed, options.seed + options.lives):
        tally = survey(seed, options.rounds, options.every)
        total.lives += 1
        total.faults += tally.faults
        total.codes += tally.codes
        total.broken += tally.broken
        total.failures += tally.failures
    print(f"seed {options.seed}: {total}")
    print(", ".join(f"{code or '200'} {count}" for code, count in total.codes.most_common()))
    for failure in total.failures[:20]:
        print(failure)
    return 1 if total.failures else 0
