"""Groups, leases, sharing, seeks, keys, delays, refusals and dedupe beside a plain model of them.

    python -m tests.crash model --seed 1 --examples 2000

The disk does not fail here (see `model.py`), but the broker ends in every way between two requests.
So every answer is certain, and all of them are compared.
"""

import json
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pandaq.actors.messages import Cycle
from pandaq.actors.system import System
from pandaq.assignments import Member
from pandaq.config import Retry, TopicConfig
from pandaq.errors import NoPartitionAvailable, NotAssigned
from pandaq.storage import delayed as delayed_module
from pandaq.web.app import App
from pandaq.web.payloads import timestamp
from tests.actors.stage import Clock, small_config
from tests.crash.machine import run_machine
from tests.crash.plain_groups import (
    TOPICS,
    WINDOW_MS,
    Entry,
    Group,
    Partition,
    PlainGroups,
)
from tests.crash.plain_model import BROKER, Answer, Client
from tests.inline import spawn_inline
from tests.simulated_disk import SimulatedDisk

ALL: Final = 10_000
KINDS: Final = (
    *("produce", "consume", "commit", "register", "heartbeat", "unregister", "seek", "nack"),
    *("redrive", "delete", "stats"),
)
counts: Counter[str] = Counter()
"""What all runs together have done: requests by kind and status, ends of runs, examples."""

ids = st.sampled_from(["a", "b", "c|d", "ü\n"])
keys = st.none() | st.sampled_from(["k|1", "k2"])
headers = st.none() | st.dictionaries(
    st.sampled_from(["h|1", "ü"]), st.sampled_from(["", "x|y\n"]), max_size=2
)
entries = st.tuples(
    ids,
    keys,
    headers,
    st.none() | st.sampled_from([0, 40, 250]),
    st.none() | st.sampled_from([60, 400]),
)
topics = st.sampled_from(list(TOPICS))
partitions = st.sampled_from([("orders", 0), ("orders", 1), ("events", 0)])
groups = st.sampled_from(["", "g", "grün/1 &"])
consumers = st.sampled_from(["ann", "bob", "Büro 2"])
Produced = tuple[str, str | None, dict[str, str] | None, int | None, int | None]


class GroupMachine(RuleBasedStateMachine):
    """Callers, clocks and ends of all kinds; every answer is compared with the model."""

    def __init__(self) -> None:
        super().__init__()
        counts["examples"] += 1
        self.patch = pytest.MonkeyPatch()
        self.model = PlainGroups()
        self.clock, self.mono = Clock(), Clock()
        self.number = 0

    @initialize(
        segment_bytes=st.integers(256, 1_500),
        tail_bytes=st.sampled_from([0, 2_000, 1 << 20]),
        checkpoint_bytes=st.sampled_from([1, 400, 1 << 20]),
        sparse=st.sampled_from([1, 10_000]),
        max_attempts=st.sampled_from([1, 2, 3]),
        first=st.lists(st.tuples(topics, entries), max_size=6),
        member=st.none()
        | st.tuples(groups, consumers, st.sampled_from([None, 300]), st.booleans()),
    )
    def begin(
        self,
        sparse: int,
        max_attempts: int,
        first: Sequence[tuple[str, Produced]],
        member: tuple[str, str, int | None, bool] | None,
        **sizes: int,
    ) -> None:
        self.patch.setattr(delayed_module, "SPARSE", sparse)
        self.patch.setattr(delayed_module, "MOVED", 2)
        self.model.retry = retry = Retry(max_attempts=max_attempts, delay_ms=100, max_delay_ms=150)
        topics = [
            TopicConfig("orders", 2, retry=retry),
            TopicConfig("events", 1, retry=retry, dedupe_window_ms=WINDOW_MS),
        ]
        self.config = small_config(topics=topics, **sizes)
        self.start(SimulatedDisk())
        # Since hypothesis leaves some rules out of each sequence, as it may those that all need.
        for topic, entry in first:
            self.produce(topic, [entry], single=True)
        self.cycle()
        if member:
            group, consumer, lease_ms, share = member
            for topic in TOPICS:
                self.register(topic, group, consumer, lease_ms, "beginning", share=share)

    # -- what producers do

    @rule(topic=topics, batch=st.lists(entries, min_size=1, max_size=4), single=st.booleans())
    def produce(self, topic: str, batch: Sequence[Produced], *, single: bool) -> None:
        batch = batch[:1] if single else batch
        spelled, made = zip(*map(self.spell, batch), strict=True)
        body = {"message": spelled[0]} if single else {"messages": spelled}
        data = self.ask("produce", "POST", f"/ingress/{topic}", body).data
        found = data.get("duplicates", [made[0].message_id] if data.get("duplicate") else [])
        before = dict(self.model.seen_ms), list(self.model.unrouted)
        expected = self.model.produce(topic, made, self.clock.now_ms)
        if expected is None:  # A crash has left open when it came: the broker says.
            self.model.seen_ms, self.model.unrouted = before
            self.follow(topic, made, found)
        else:
            assert found == expected, (found, expected, before[0], self.clock.now_ms)

    def follow(self, topic: str, made: Sequence[Entry], found: Sequence[str]) -> None:
        """Take over which messages the broker has taken for duplicates."""
        left = Counter(found)
        kept: list[Entry] = []
        for entry in reversed(made):
            if left[entry.message_id]:
                left[entry.message_id] -= 1
            else:
                kept.insert(0, entry)
        now_ms = self.clock.now_ms
        self.model.seen_ms |= {entry.message_id: (now_ms, now_ms) for entry in kept}
        self.model.unrouted += [(topic, entry) for entry in kept]

    # -- who comes and goes

    @rule(
        topic=topics,
        group=groups,
        consumer=consumers,
        lease_ms=st.none() | st.sampled_from([50, 300]),
        share=st.booleans(),
        start=st.sampled_from(["beginning", "end", None]),
    )
    def register(
        self,
        topic: str,
        group: str,
        consumer: str,
        lease_ms: int | None,
        start: str | None,
        *,
        share: bool,
    ) -> None:
        body: dict[str, Any] = {"consumerId": consumer, "share": share}
        body |= {"group": group} if group else {}
        body |= {"leaseMs": lease_ms} if lease_ms else {}
        body |= {"from": start} if start else {}
        answer = self.call("register", "POST", f"/register/{topic}", body)
        known = self.model.open_group(topic, group, start or "beginning")
        try:
            after = self.current(known).registered(consumer, Member(lease_ms, share))
        except NoPartitionAvailable:
            assert answer.code == "NO_PARTITION_AVAILABLE"
            return
        known.keep(after, self.mono.now_ms, consumer)
        assert answer.data["group"] == group
        self.see_assigned(answer.data, known, consumer)
        held = after.held_by(consumer)
        assert answer.data["partitionId"] == (held[0] if held else None)

    @rule(topic=topics, group=groups, consumer=consumers)
    def heartbeat(self, topic: str, group: str, consumer: str) -> None:
        body = {"consumerId": consumer, "group": group}
        answer = self.call("heartbeat", "POST", f"/heartbeat/{topic}", body)
        known = self.member_of(topic, group, consumer)
        if known is None:
            assert answer.code == "CONSUMER_NOT_FOUND"
        else:
            known.keep(known.assignments, self.mono.now_ms, consumer)
            self.see_assigned(answer.data, known, consumer)

    @rule(topic=topics, group=groups, consumer=consumers)
    def unregister(self, topic: str, group: str, consumer: str) -> None:
        body = {"consumerId": consumer, "group": group}
        answer = self.call("unregister", "POST", f"/unregister/{topic}", body)
        known = self.member_of(topic, group, consumer)
        if known is None:
            assert answer.code == "CONSUMER_NOT_FOUND"
        else:
            assert answer.data == {"released": known.assignments.held_by(consumer)}
            known.keep(known.assignments.left([consumer]), self.mono.now_ms)

    @rule(topic=topics, group=groups)
    def delete_group(self, topic: str, group: str) -> None:
        name = quote(group or "nobody", safe="/")
        answer = self.call("delete", "DELETE", f"/groups/{topic}/{name}")
        known = self.model.groups.get((topic, group or "nobody"))
        if known is None:
            assert answer.code == "GROUP_NOT_FOUND"
        elif self.current(known).members:
            assert answer.code == "GROUP_IN_USE"
        else:
            assert answer.data["deleted"] is True
            del self.model.groups[topic, group]

    # -- what consumers do

    @rule(
        partition=partitions,
        group=groups,
        consumer=consumers,
        which=st.sampled_from(["holder", "holder", "none", "other", "stale"]),
        most=st.integers(1, 5),
    )
    def consume(
        self, partition: Partition, group: str, consumer: str, which: str, most: int
    ) -> None:
        name, generation, is_holder = self.caller(partition, group, consumer, which)
        query = f"?b=t&max={most}&group={quote(group, safe='')}"
        query += f"&consumerId={quote(name)}" if name else ""
        query += f"&generation={generation}" if generation else ""
        answer = self.call("consume", "GET", self.path(partition) + query)
        if not is_holder:
            assert answer.code == "NOT_ASSIGNED"
            return
        self.heard(partition, group, name)
        self.see(answer.data, partition, group, most)

    @rule(partition=partitions, group=groups, by=st.integers(-1, 6), most=st.integers(1, 5))
    def consume_anywhere(self, partition: Partition, group: str, by: int, most: int) -> None:
        end = len(self.model.logs[partition])
        offset = end + 1 if by < 0 else max(end - by, 0)
        query = f"?b=t&max={most}&group={quote(group, safe='')}&offset={offset}&wait=1000"
        answer = self.call("consume", "GET", self.path(partition) + query)
        if by < 0:
            assert answer.code == "INVALID_OFFSET"
        else:
            self.see(answer.data, partition, group, most, offset)

    @rule(
        partition=partitions,
        group=groups,
        consumer=consumers,
        which=st.sampled_from(["holder", "holder", "anybody", "other", "stale"]),
        by=st.integers(-2, 6),
    )
    def commit(self, partition: Partition, group: str, consumer: str, which: str, by: int) -> None:
        topic, number = partition
        read, end = self.model.read(partition, group), len(self.model.logs[partition])
        offset = read + by if by < 0 else min(read + by, end)
        name, generation, _ = self.caller(partition, group, consumer, which)
        name = name or consumer
        body = self.where(partition, group, name, generation) | {"offset": offset}
        answer = self.call("commit", "POST", "/commit", body)
        known = self.model.groups.get((topic, group)) or Group(
            topic, TOPICS[topic], [0] * TOPICS[topic]
        )
        before = self.current(known)
        try:
            if generation is not None:
                before.check_holder(number, name, generation)
            after = before.claimed(number, name)
        except NotAssigned:
            assert answer.code == "NOT_ASSIGNED"
            return
        if not read <= offset <= end:
            assert answer.code == "INVALID_OFFSET"
            if after is before:
                self.heard(partition, group, name)
            return
        self.model.groups[topic, group] = known
        known.keep(after, self.mono.now_ms, name)
        known.reads[number] = offset
        expected = {"committed": True, "offset": offset, "newReadOffset": offset}
        assert answer.data.items() >= (expected | {"logEndOffset": end}).items()

    @rule(
        partition=partitions,
        group=groups,
        consumer=consumers,
        which=st.sampled_from(["holder", "holder", "anybody", "other"]),
        where=st.integers(-1, 9) | st.sampled_from(["beginning", "end", "past", "future"]),
    )
    def seek(
        self, partition: Partition, group: str, consumer: str, which: str, where: int | str
    ) -> None:
        topic, number = partition
        end = len(self.model.logs[partition])
        name, generation, _ = self.caller(partition, group, consumer, which)
        name = name or consumer
        body = self.where(partition, group, name, generation)
        targets: dict[Any, tuple[dict[str, Any], int]] = {
            "beginning": ({"to": "beginning"}, 0),
            "end": ({"to": "end"}, end),
            "past": ({"timestamp": 0}, 0),
            "future": ({"timestamp": self.clock.now_ms + 1}, end),
        }
        target, offset = targets.get(where, ({"offset": where}, where))
        answer = self.call("seek", "POST", "/seek", body | target)
        known = self.model.open_group(topic, group)
        holder = self.current(known).holder(number)
        if holder not in (None, name) or (holder and generation == 99):
            assert answer.code == "NOT_ASSIGNED"
            return
        self.heard(partition, group, name if holder else None)
        if not 0 <= int(offset) <= end:
            assert answer.code == "INVALID_OFFSET"
            return
        assert answer.data["newReadOffset"] == offset
        assert answer.data["logEndOffset"] == end
        known.reads[number] = int(offset)

    @rule(
        partition=partitions,
        group=groups,
        consumer=consumers,
        which=st.sampled_from(["holder", "holder", "holder", "other", "stale"]),
        by=st.integers(0, 6),
        delay_ms=st.none() | st.sampled_from([0, 30]),
    )
    def nack(
        self,
        partition: Partition,
        group: str,
        consumer: str,
        which: str,
        by: int,
        delay_ms: int | None,
    ) -> None:
        self.make_due_unique(delay_ms)
        model, now_ms = self.model, self.clock.now_ms
        possible = self.refusable()
        if possible and which == "holder":
            partition, group = possible[by % len(possible)]
        there = [each["offset"] for each in model.shown(partition, group, ALL, now_ms + 1)[0]]
        offset = there[by % len(there)] if there and by < 4 else model.read(partition, group) + by
        name, generation, is_holder = self.caller(partition, group, consumer, which)
        body = self.where(partition, group, name or consumer, generation)
        body |= {"offset": offset, "reason": "why"} | (
            {} if delay_ms is None else {"delayMs": delay_ms}
        )
        answer = self.call("nack", "POST", "/nack", body)
        if not is_holder or not name:
            assert answer.code == "NOT_ASSIGNED"
            return
        self.heard(partition, group, name)
        if offset not in there:
            assert answer.code == "INVALID_OFFSET"
            return
        topic, copy = model.refuse(partition, group, offset, delay_ms, now_ms + 1)
        attempts = copy.attempts or self.model.retry.max_attempts
        assert answer.data.items() >= {"attempts": attempts, "topicId": topic}.items()

    @rule(by=st.integers(0, 5))
    def refuse_for_good(self, by: int) -> None:
        for _ in range(self.model.retry.max_attempts):
            if self.refusable():
                self.nack(("orders", 0), "", "ann", "holder", by, 0)
                self.cycle()

    def refusable(self) -> list[tuple[Partition, str]]:
        """Return where a consumer has a message that it could refuse."""
        return [
            ((topic, number), name)
            for (topic, name), group in self.model.groups.items()
            if topic in TOPICS
            for number in range(TOPICS[topic])
            if self.current(group).holder(number)
            and self.model.shown((topic, number), name, 1, self.clock.now_ms + 1)[0]
        ]

    @rule(topic=topics, by_itself=st.booleans())
    def redrive(self, topic: str, *, by_itself: bool) -> None:
        is_there = (f"{topic}.dlq", "") in self.model.groups
        moved = self.model.redrive(topic)
        name = topic if by_itself else f"{topic}.dlq"
        answer = self.call("redrive", "POST", f"/redrive/{name}", {})
        if not (is_there or by_itself):
            assert answer.code == "TOPIC_NOT_FOUND"
            return
        data = answer.data
        assert (data["topicId"], data["moved"], data["remaining"]) == (topic, moved, 0)

    # -- time, and the broker

    @rule(ms=st.sampled_from([1, 45, 100, 300, 1_200]))
    def time_passes(self, ms: int) -> None:
        self.clock.now_ms += ms
        self.mono.now_ms += ms

    @rule(ms=st.sampled_from([-5_000, 5_000]))
    def monotonic_time_alone_counts_for_leases(self, ms: int) -> None:
        before = self.owners()
        self.clock.now_ms += ms
        assert self.owners() == before
        self.clock.now_ms -= ms

    @rule()
    def cycle(self) -> None:
        assert self.system._crew
        for _ in range(50):
            self.system._crew.broker.ask(Cycle(), block=False).get(timeout=0)
            stats = self.stats()
            buffer, due = stats["ingressBuffer"], stats["delayed"]["nextDueAt"]
            if buffer["readOffset"] == buffer["logEndOffset"] and (
                due is None or due > self.now_text()
            ):
                break
        else:
            raise AssertionError("routing does not come to an end")
        self.model.route()
        self.model.route_due(self.clock.now_ms)

    # -- how a run ends

    @rule()
    def restart(self) -> None:
        self.system.stop()
        assert self.disk.open_files == self.disk.held_locks == ()
        self.ended("restarts", self.disk.power_loss_worst())

    @rule()
    def kill(self) -> None:
        self.ended("kills", self.disk.kill())

    @rule(seed=st.integers(0, 1_000), in_order=st.booleans())
    def crash(self, seed: int, *, in_order: bool) -> None:
        left = self.disk.crash(random.Random(seed), entries_in_order=in_order)
        self.ended("crashes", left)

    def ended(self, way: str, disk: SimulatedDisk) -> None:
        counts[way] += 1
        self.start(disk)
        self.model.restart(self.mono.now_ms, self.clock.now_ms, is_crash=way != "kills")

    # -- what holds at any time

    @invariant()
    def all_is_as_it_should_be(self) -> None:
        stats = self.stats()
        waiting = len(self.model.delayed)
        assert waiting <= stats["delayed"]["count"] + len(self.model.unrouted)
        if not self.model.unrouted:
            assert stats["delayed"]["count"] == waiting
        found = {}
        for topic in stats["topics"]:
            name = topic["topicId"]
            found[name, ""] = topic["partitions"], topic["consumers"]
            for group in topic["groups"]:
                found[name, group["group"]] = group["partitions"], group["consumers"]
        assert found.keys() == self.model.groups.keys()
        for key, (its_partitions, members) in found.items():
            self.see_group(key, its_partitions, members)

    def see_group(self, key: tuple[str, str], its_partitions: Any, members: Any) -> None:
        group = self.model.groups[key]
        current = self.current(group)
        for each in its_partitions:
            number = each["partitionId"]
            end = len(self.model.logs[key[0], number])
            assert each["readOffset"] == group.reads[number], key
            assert each["pendingMessages"] == end - group.reads[number]
            assert each["consumerId"] == current.holder(number)
            if current.holder(number):
                assert each["generation"] == current.generation(number)
            answer = self.call(
                "consume",
                "GET",
                f"{self.path((key[0], number))}?b=t&max={ALL}&group={quote(key[1], safe='')}",
            )
            self.see(answer.data, (key[0], number), key[1], ALL)
        now_ms = self.mono.now_ms
        assert {each["consumerId"]: each["leaseLeftMs"] for each in members} == {
            name: None if it.lease_ms is None else it.lease_ms - now_ms + group.heard_ms[name]
            for name, it in current.members.items()
        }

    def teardown(self) -> None:
        try:
            if hasattr(self, "system"):
                self.cycle()
                self.restart()
                self.all_is_as_it_should_be()
                self.system.stop()
        finally:
            self.patch.undo()

    # -- inside

    def start(self, disk: SimulatedDisk) -> None:
        self.disk = disk
        self.system = System(
            self.config, disk=disk, clock=self.clock, monotonic=self.mono, spawn=spawn_inline
        )
        self.system.start()
        self.client = Client(App(self.system), counts)

    def call(self, kind: str, method: str, url: str, body: Any = None) -> Answer:
        self.clock.now_ms += 1  # so that no two requests come at once
        return self.client.call(kind, method, url, body)

    def ask(self, kind: str, method: str, url: str, body: Any = None) -> Answer:
        answer = self.call(kind, method, url, body)
        assert answer.status == 200, answer.code
        return answer

    def stats(self) -> Any:
        return self.client.call("stats", "GET", "/stats").data

    def owners(self) -> Any:
        return [[topic["consumers"], topic["groups"]] for topic in self.stats()["topics"]]

    def now_text(self) -> str:
        return timestamp(self.clock.now_ms)

    def current(self, group: Group) -> Any:
        return group.current(self.mono.now_ms)

    def member_of(self, topic: str, group: str, consumer: str) -> Group | None:
        known = self.model.groups.get((topic, group))
        return known if known and consumer in self.current(known).members else None

    def heard(self, partition: Partition, group: str, consumer: str | None) -> None:
        known = self.model.groups.get((partition[0], group))
        if known and consumer:
            known.keep(known.assignments, self.mono.now_ms, consumer)

    def caller(
        self, partition: Partition, group: str, consumer: str, which: str
    ) -> tuple[str | None, int | None, bool]:
        """Return who calls, the generation it names, and whether it may."""
        known = self.model.groups.get((partition[0], group))
        current = self.current(known) if known else None
        holder = current.holder(partition[1]) if current else None
        generation = current.generation(partition[1]) if current else None
        match which:
            case "holder" if holder:
                return holder, generation, True
            case "stale" if holder:
                return holder, 99, False
            case "other":
                return consumer, None, consumer == holder
            case "none":
                return None, None, True
        return (
            None if which == "holder" else consumer,
            None,
            consumer == holder or which == "holder",
        )

    def where(
        self, partition: Partition, group: str, consumer: str, generation: int | None
    ) -> dict[str, Any]:
        topic, number = partition
        body: dict[str, Any] = {"topicId": topic, "partitionId": number, "consumerId": consumer}
        body |= {"group": group} if group else {}
        return body | ({} if generation is None else {"generation": generation})

    def path(self, partition: Partition) -> str:
        return f"/consume/{BROKER}/{partition[0]}/{partition[1]}"

    def see(
        self, data: Any, partition: Partition, group: str, most: int, behind: int | None = None
    ) -> None:
        now_ms = self.clock.now_ms
        found, start, end = self.model.shown(partition, group, most, now_ms, behind)
        for each in data["messages"]:
            assert each.pop("timestamp").endswith("Z")
        assert data["messages"] == found, (partition, group)
        assert (data["startOffset"], data["endOffset"]) == (start, end)
        assert data["count"] == len(found)

    def see_assigned(self, data: Any, group: Group, consumer: str) -> None:
        current = group.assignments
        assert data["leaseMs"] == current.members[consumer].lease_ms
        assert data["partitions"] == [
            {"partitionId": n, "generation": current.generation(n)}
            for n in current.held_by(consumer)
        ]

    def make_due_unique(self, delay_ms: int | None) -> None:
        """Let time pass until nothing is due when this would be, after any number of attempts."""
        delays = (
            [0, *map(self.model.retry.delay_after, range(1, 4))] if delay_ms is None else [delay_ms]
        )
        self.pass_until_unique(delays)

    def pass_until_unique(self, delays: Sequence[int]) -> None:
        waiting = {
            entry.due_ms for _, entry in [*self.model.delayed, *self.model.unrouted] if entry.due_ms
        }
        while any(self.clock.now_ms + 1 + delay in waiting for delay in delays):
            self.clock.now_ms += 1

    def spell(self, produced: Produced) -> tuple[dict[str, Any], Entry]:
        message_id, key, said, delay_ms, ttl_ms = produced
        self.number += 1
        spelled: dict[str, Any] = {"messageId": message_id, "content": {"n": self.number, "|": "|"}}
        now_ms = self.clock.now_ms + 1
        due_ms = expires_ms = None
        if key is not None:
            spelled["key"] = key
        if said is not None:
            spelled["headers"] = said
        if delay_ms is not None:
            delay_ms += self.number  # All of a batch are due at different times.
            spelled["delayMs"] = delay_ms
            due_ms = now_ms + delay_ms
            taken = {e.due_ms for _, e in [*self.model.delayed, *self.model.unrouted]}
            while due_ms in taken:
                due_ms += 1
                spelled["delayMs"] += 1
        if ttl_ms is not None:
            spelled["ttlMs"] = ttl_ms
            expires_ms = now_ms + ttl_ms
        content = json.dumps(spelled["content"])
        return spelled, Entry(message_id, content, key, said or {}, due_ms, expires_ms)


def run(examples: int, seed: int, steps: int = 40) -> None:
    """Run so many sequences; raise what the shrunk one that fails raises, with its steps."""
    run_machine(GroupMachine, examples, seed, steps)
