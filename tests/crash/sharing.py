"""A life of groups, delays, refusals and dedupe, ended or failing at every call of the disk.

    python -m tests.crash sharing --seed 1

The life is lived once on a good disk, which counts its calls. Then it is lived again for each of
them, which either ends the process there (by a kill, or by a loss of power that takes what was not
synced, some of it, or none) or fails once, with no room or with an error. Whatever was answered
must be true of the next start, and what was not answered must be there once or not at all.
"""

import argparse
import errno
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from pandaq.actors.messages import Cycle
from pandaq.actors.system import System
from pandaq.config import Config, Retry, TopicConfig
from pandaq.errors import StartError
from pandaq.storage.inspection import inspect
from pandaq.web.app import App
from tests.actors.stage import DATA, Clock, small_config
from tests.crash.plain_model import BROKER, Answer, Client
from tests.inline import spawn_inline
from tests.simulated_disk import SimulatedDisk

ENDS: Final = ("kill", "worst", "crash", "crash")
ERRORS: Final = {
    "EIO": OSError(errno.EIO, "Input/output error"),
    "ENOSPC": OSError(errno.ENOSPC, "No space left on device"),
}
RETRY: Final = Retry(max_attempts=2, delay_ms=100)
SEEN_BY_NOBODY: Final = "fresh"
ALL: Final = 10_000


class Stop(BaseException):
    """The moment at which the process ends."""


class Broken(AssertionError):
    """A promise did not hold."""


@dataclass
class Known:
    """What was answered, by what it promises; what is unknown may be or not be."""

    sent: Counter[str] = field(default_factory=Counter)
    refused: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    copies: dict[str, tuple[int, int]] = field(default_factory=dict)
    """How many copies of a message there are of it for the group, at least and at most."""
    letters: tuple[int, int] = (0, 0)
    either: int = 0
    """So many copies and dead letters there are together, at least."""
    reads: dict[int, set[int]] = field(default_factory=lambda: {0: {0}})
    """Where the group may stand in each partition."""
    member: bool | None = False
    old_group: bool | None = False
    """Whether it is there; None: it may be."""


class Life:
    """One broker, what it is asked, and what is known of it."""

    def __init__(self, disk: SimulatedDisk, config: Config) -> None:
        self.config = config
        self.known = Known()
        self.clock, self.mono = Clock(), Clock()
        self.counts: Counter[str] = Counter()
        self.start(disk)

    def start(self, disk: SimulatedDisk) -> None:
        self.disk = disk
        self.system = System(
            self.config, disk=disk, clock=self.clock, monotonic=self.mono, spawn=spawn_inline
        )
        self.system.start()
        self.client = Client(App(self.system), self.counts)

    def live(self) -> None:
        """Do all steps in order."""
        for step in self.steps():
            step()

    def steps(self) -> Iterator[Callable[[], None]]:
        yield lambda: self.produce("orders", "a", "b")
        yield lambda: self.produce("orders", "soon", delayMs=100)
        yield lambda: self.produce("orders", "late", delayMs=60_000)
        yield lambda: self.produce("events", "once")
        yield self.open_old_group
        yield self.cycle
        yield self.commit_old_group
        yield self.register
        yield lambda: self.nack("a")
        yield self.commit
        yield lambda: self.produce("events", "once")
        yield lambda: self.pass_ms(250)
        yield self.cycle
        yield lambda: self.nack("a")
        yield self.commit
        yield self.delete_old_group
        yield self.cycle
        yield self.seek
        yield self.redrive
        yield self.cycle
        yield lambda: self.pass_ms(100)
        yield self.cycle
        yield self.unregister

    # -- steps

    def produce(self, topic: str, *ids: str, **more: Any) -> None:
        known = self.known
        repeated = [id_ for id_ in ids if known.sent[id_]]
        new = [id_ for id_ in ids if id_ not in repeated]
        known.unknown.update(new)
        batch = [{"messageId": id_, "content": 1, "key": "k", **more} for id_ in ids]
        answer = self.call("produce", "POST", f"/ingress/{topic}", {"messages": batch})
        if answer.status == 200:
            known.unknown.difference_update(new)
            known.sent.update(new)
            if set(answer.data.get("duplicates", [])) != set(repeated):
                raise Broken(f"duplicates {answer.data}, expected {repeated}")
        elif answer.code == "STORAGE_FULL":
            known.unknown.difference_update(new)
            known.refused.update(new)

    def register(self) -> None:
        self.known.member = None
        body = {"consumerId": "ann", "group": "g", "leaseMs": 1_000, "share": True}
        answer = self.call("register", "POST", "/register/orders", body)
        if answer.status == 200:
            self.known.member = True

    def unregister(self) -> None:
        was, self.known.member = self.known.member, None
        body = {"consumerId": "ann", "group": "g"}
        answer = self.call("unregister", "POST", "/unregister/orders", body)
        # That it is not there says nothing of a registration that failed: its file may be.
        self.known.member = False if answer.status == 200 or was is False else None

    def open_old_group(self) -> None:
        self.known.old_group = None  # Also by a commit, where this fails.
        body = {"consumerId": "zoe", "group": "old"}
        if self.call("register", "POST", "/register/orders", body).status == 200:
            self.known.old_group = True

    def commit_old_group(self) -> None:
        """Have it committed, so that the next checkpoint has more of it than its mere name."""
        body = self.where() | {"consumerId": "zoe", "group": "old", "offset": 2}
        self.call("commit", "POST", "/commit", body)

    def delete_old_group(self) -> None:
        self.call("unregister", "POST", "/unregister/orders", {"consumerId": "zoe", "group": "old"})
        before, self.known.old_group = self.known.old_group, None
        answer = self.call("delete", "DELETE", "/groups/orders/old")
        if answer.status == 200:
            self.known.old_group = False
        elif answer.code in ("GROUP_IN_USE", "STORAGE_FULL"):
            self.known.old_group = before

    def nack(self, message_id: str) -> None:
        """Refuse the newest of a message that the group sees."""
        found = [each for each in self.seen("orders", "g") if each["messageId"] == message_id]
        if not found:
            return
        attempts = found[-1].get("attempts", 0) + 1
        dead = attempts >= RETRY.max_attempts
        known = self.known
        before, least = known.letters if dead else known.copies.get(message_id, (0, 0)), None

        def may_be(at_least: int, at_most: int) -> None:
            if dead:
                known.letters = at_least, at_most
            else:
                known.copies[message_id] = at_least, at_most

        least, most = before
        may_be(least, most + 1)
        body = self.where() | {"offset": found[-1]["offset"], "reason": "x"}
        answer = self.call("nack", "POST", "/nack", body)
        if answer.status == 200:
            may_be(least + 1, most + 1)
        elif answer.code in ("STORAGE_FULL", "NOT_ASSIGNED", "INVALID_OFFSET"):
            may_be(least, most)

    def commit(self) -> None:
        offset = max((each["offset"] for each in self.seen("orders", "g")), default=0)
        self.move("commit", "/commit", {"offset": offset}, offset)

    def seek(self) -> None:
        self.move("seek", "/seek", {"to": "beginning"}, 0)

    def move(self, kind: str, path: str, body: dict[str, Any], offset: int) -> None:
        reads = self.known.reads[0]
        reads.add(offset)
        answer = self.call(kind, "POST", path, self.where() | body)
        if answer.status == 200:
            self.known.reads[0] = {answer.data["newReadOffset"]}
            if answer.data["newReadOffset"] != offset:
                raise Broken(f"{kind} to {offset} went to {answer.data}")

    def redrive(self) -> None:
        least, most = self.known.letters
        low, high = self.known.copies.get("a", (0, 0))
        # In between, a letter may be in both places, and never in none.
        self.known.copies["a"], self.known.letters = (low, high + most), (0, most)
        self.known.either = low + least
        answer = self.call("redrive", "POST", "/redrive/orders", {})
        if answer.status == 200:
            moved = answer.data["moved"]
            self.known.copies["a"] = low + moved, high + moved
            self.known.letters = least - moved, most - moved

    def cycle(self) -> None:
        assert self.system._crew
        for _ in range(4):
            self.system._crew.broker.ask(Cycle(), block=False).get(timeout=0)

    def pass_ms(self, ms: int) -> None:
        self.clock.now_ms += ms
        self.mono.now_ms += ms

    # -- what must be true

    def end(self, way: str, seed: int, *, is_sound: bool) -> None:
        """End the process, and start on what that leaves, which may have to be sound."""
        self.disk.heal()
        match way:
            case "kill":
                left = self.disk.kill()
            case "worst":
                left = self.disk.power_loss_worst()
            case _:
                left = self.disk.crash(random.Random(seed), entries_in_order=bool(seed % 2))
        found = inspect(left.kill(), DATA, None, self.clock)
        of_delay = [str(each) for each in found.damage if each.path.name.startswith("delayed")]
        if of_delay and is_sound:
            raise Broken(f"a crash alone has damaged the delay log: {of_delay}")
        self.start(left)

    def check(self) -> None:
        """Compare all that there is with what was answered, once all that waits is due."""
        stats = self.client.call("stats", "GET", "/stats").data
        orders = next(each for each in stats["topics"] if each["topicId"] == "orders")
        groups = {each["group"]: each for each in orders["groups"]}
        self.check_groups(groups)
        self.pass_ms(100_000)
        for _ in range(3):
            self.cycle()
        known = self.known
        found = Counter(
            each["messageId"]
            for topic in ("orders", "events")
            for each in self.seen(topic, SEEN_BY_NOBODY, whole=True)
        )
        for message_id in known.sent:
            if found[message_id] != 1:
                times = found[message_id]
                raise Broken(f"{message_id} was acknowledged and is there {times} times")
        for message_id in known.unknown:
            if found[message_id] > 1:
                raise Broken(f"{message_id} is there {found[message_id]} times")
        for message_id in known.refused - known.sent.keys():
            if found[message_id]:
                raise Broken(f"{message_id} was refused and is there")
        seen = Counter(each["messageId"] for each in self.seen("orders", "g", whole=True))
        for message_id, (least, most) in known.copies.items():
            count = seen[message_id] - found[message_id]
            if not least <= count <= most:
                raise Broken(f"{count} copies of {message_id}, expected {least} to {most}")
        letters = 0
        if "orders.dlq" in self.system.topics:
            letters = len(self.seen("orders.dlq", ""))
        least, most = known.letters
        if letters + seen["a"] - found["a"] < known.either:
            raise Broken(f"{letters} dead letters and no copy in place of one")
        if not least <= letters <= most:
            raise Broken(f"{letters} dead letters, expected {least} to {most}")

    def check_groups(self, groups: dict[str, Any]) -> None:
        known = self.known
        if known.old_group is not None and ("old" in groups) != known.old_group:
            raise Broken(f"the old group: expected {known.old_group}, there are {list(groups)}")
        group = groups.get("g")
        if known.member is not None:
            members = {each["consumerId"] for each in group["consumers"]} if group else set()
            if ("ann" in members) != known.member:
                raise Broken(f"the members are {members}, expected ann: {known.member}")
        read = group["partitions"][0]["readOffset"] if group else 0
        if read not in known.reads[0]:
            raise Broken(f"the group has read {read}, expected one of {known.reads[0]}")

    # -- inside

    def seen(self, topic: str, group: str, *, whole: bool = False) -> list[Any]:
        """Return what a group is given of all partitions, from where it is or from the start."""
        query = f"?b=t&max={ALL}&group={group}" + ("&offset=0" if whole else "")
        path = f"/consume/{BROKER}/{topic}/0{query}"
        answer = self.client.call("consume", "GET", path)
        if answer.code == "STORAGE_FAILED":  # A read that failed once.
            answer = self.client.call("consume", "GET", path)
        if answer.status != 200:
            raise Broken(f"{path} was answered {answer.code}")
        messages: list[Any] = answer.data["messages"]
        return messages

    def where(self) -> dict[str, Any]:
        return {"topicId": "orders", "partitionId": 0, "consumerId": "ann", "group": "g"}

    def call(self, kind: str, method: str, url: str, body: Any = None) -> Answer:
        self.clock.now_ms += 1
        answer = self.client.call(kind, method, url, body)
        if answer.status == 500:
            raise Broken(f"{method} {url} was answered with a defect")
        return answer


def configured(segment_bytes: int) -> Config:
    topics = [
        TopicConfig("orders", 1, retry=RETRY),
        TopicConfig("events", 1, retry=RETRY, dedupe_window_ms=600_000),
    ]
    return small_config(topics=topics, segment_bytes=segment_bytes, checkpoint_bytes=1)


def calls_of_a_life(config: Config) -> int:
    """Live on a good disk; return how many calls of it there are after the start."""
    life = Life(SimulatedDisk(), config)
    calls = [0]

    def count(_path: object) -> bool:
        calls[0] += 1
        return False

    life.disk.fail("*", count, times=None)
    life.live()
    life.disk.heal()
    life.check()
    return calls[0]


def ended_at(number: int, way: str, seed: int, config: Config) -> Life:
    """Live until call `number`, end there, start again, and check."""
    life = Life(SimulatedDisk(), config)
    life.disk.fail("*", after=number, error=Stop())
    with suppress(Stop):
        life.live()
    life.end(way, seed, is_sound=True)
    life.check()
    return life


def failing_at(number: int, error: str, seed: int, config: Config) -> Life:
    """Live with call `number` failing once; check after the next start."""
    life = Life(SimulatedDisk(), config)
    life.disk.fail("*", after=number, error=ERRORS[error])
    life.live()
    life.end("worst", seed, is_sound=False)
    life.check()
    return life


def run(seed: int, every: int = 1) -> Counter[str]:
    """Do all of it, or every so many calls; return how often each was done."""
    done: Counter[str] = Counter()
    for segment_bytes in (400, 100_000):
        config = configured(segment_bytes)
        calls = calls_of_a_life(config)
        for number in range(seed % every, calls, every):
            for turn, way in enumerate(ENDS):
                named(ended_at, number, way, seed + turn, config)
                done[way] += 1
            for error in ERRORS:
                named(failing_at, number, error, seed, config)
                done[error] += 1
    return done


def named(
    do: Callable[[int, str, int, Config], object], number: int, how: str, seed: int, config: Config
) -> None:
    try:
        do(number, how, seed, config)
    except (AssertionError, StartError, OSError) as error:
        where = f"segments of {config.segment_bytes}, call {number}, {how}, seed {seed}"
        raise Broken(f"{where}: {error!r}") from error


def main(arguments: Sequence[str]) -> int:
    """Run the long form; see `tests.crash.__main__`."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash sharing")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--every", type=int, default=1, help="one call in so many (default: all)")
    options = parser.parse_args(arguments)
    logging.getLogger("pandaq").setLevel(logging.CRITICAL)
    began = time.monotonic()
    try:
        done = run(options.seed, options.every)
    except Broken as error:
        print(f"seed {options.seed}: {error}")
        return 1
    text = ", ".join(f"{count} {way}" for way, count in done.items())
    print(f"seed {options.seed}: {text}; {time.monotonic() - began:.0f} s; broken 0")
    return 0
