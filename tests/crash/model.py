"""A broker behind its HTTP API beside a plain model of it, in sequences that hypothesis makes.

    python -m tests.crash model --seed 1 --examples 2000

The actors have no threads, the disk is simulated and the app is called in place, so a sequence that
fails is shrunk to the shortest that does, and fails again wherever it is tried.
"""

import argparse
import json
import logging
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from pandaq.actors import broker as broker_module
from pandaq.actors.messages import Cycle, Outcome
from pandaq.actors.system import System
from pandaq.config import Retention
from pandaq.web.app import App
from tests.actors.stage import Clock, small_config
from tests.crash import group_model
from tests.crash.machine import run_machine
from tests.crash.plain_model import (
    BAD_MESSAGES,
    BROKER,
    COMMIT,
    JSON,
    MAX_BATCH,
    MAX_CONTENT_BYTES,
    PARTITIONS,
    TOPICS,
    WRONG,
    Answer,
    Client,
    Item,
    Partition,
    PlainModel,
    Sent,
)
from tests.inline import spawn_inline
from tests.simulated_disk import SimulatedDisk

ALL: Final = 10_000
KINDS: Final = ("produce", "batch", "consume", "commit", "register", "stats", "health", "wrong")
counts: Counter[str] = Counter()
"""What all runs together have done: requests by kind and status, ends of runs, examples."""

ids = (
    st.sampled_from(["a", "0", "a|b", "new\nline", "|", "\r\n", "ü\u2028", "\x00", '"\\', "😀"])
    | st.text(min_size=1, max_size=12)
    | st.integers(-(2**63), 2**64 - 1)
)
contents = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.integers(1, 150).map(lambda size: "x" * size),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
Message = tuple[str | int, Any, bool]
# Most contents are numbered, or messages that are alike would hide that they have changed places.
messages = st.tuples(ids, contents, st.sampled_from([True, True, False]))
topics = st.sampled_from(list(TOPICS))
partitions = st.sampled_from(PARTITIONS)
consumers = st.sampled_from(["ann", "bob", "Büro 2"])


class ModelMachine(RuleBasedStateMachine):
    """Callers, a disk and ends of all kinds; every answer is compared with the model."""

    def __init__(self) -> None:
        super().__init__()
        counts["examples"] += 1
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(broker_module, "RETENTION_INTERVAL_S", 0)
        self.disk = SimulatedDisk()
        self.model = PlainModel()
        self.number = 0
        self.is_full = self.is_failing = self.is_blocked = False

    @initialize(
        segment_bytes=st.integers(256, 1_500),
        tail_bytes=st.sampled_from([0, 2_000, 1 << 20]),
        checkpoint_bytes=st.sampled_from([1, 400, 1 << 20]),
        batch_size=st.sampled_from([1, 3, 1_000]),
        keep_committed=st.booleans(),
        first=st.lists(messages, max_size=MAX_BATCH),
    )
    def begin(self, *, keep_committed: bool, first: Sequence[Message], **sizes: int) -> None:
        self.config = small_config(
            retention=Retention(max_age_ms=None, keep_committed=keep_committed),
            max_message_bytes=MAX_CONTENT_BYTES,
            max_batch_messages=MAX_BATCH,
            **sizes,
        )
        self.start(self.disk)
        # Since hypothesis leaves some rules out of each sequence, as it may those that produce.
        if first:
            self.send_batch("orders", first)

    # -- what producers do

    @rule(
        singles=st.lists(st.tuples(topics, messages), min_size=1, max_size=5),
        ascii_only=st.booleans(),
        extra=st.booleans(),
    )
    def produce(
        self, singles: Sequence[tuple[str, Message]], *, ascii_only: bool, extra: bool
    ) -> None:
        more = {"brokerId": BROKER, "someday": [1]} if extra else {}
        for topic, message in singles:
            spelled, item = self.spell(message)
            body = json.dumps({"message": spelled, **more}, ensure_ascii=ascii_only)
            answer = self.client.call("produce", "POST", f"/ingress/{topic}", body)
            if self.settle(answer, Sent.of(topic, [item])):
                assert answer.data["messageId"] == item.message_id
                assert answer.data["topicId"] == topic

    @rule(topic=topics, batch=st.lists(messages, min_size=1, max_size=MAX_BATCH))
    def produce_batch(self, topic: str, batch: Sequence[Message]) -> None:
        self.send_batch(topic, batch)

    @rule(
        good=st.lists(messages, min_size=1, max_size=3),
        bad=st.sampled_from(BAD_MESSAGES),
        where=st.integers(0, 3),
    )
    def produce_batch_with_a_bad_message(
        self, good: Sequence[Message], bad: tuple[Any, str], where: int
    ) -> None:
        # Nothing of it goes to the model, so whatever is kept of it is found out.
        batch: list[Any] = [self.spell(message)[0] for message in good]
        batch.insert(where, bad[0])
        answer = self.client.call("wrong", "POST", "/ingress/orders", {"messages": batch})
        assert answer.code == bad[1]

    # -- what consumers do

    @rule(partition=partitions, number_given=st.booleans())
    def consume(self, partition: Partition, *, number_given: bool) -> None:
        data = self.get(partition, "?max=7&b=f" if number_given else "")
        single = data["messages"]
        data["messages"] = [] if single is None else [single]
        self.model.see_messages(partition, data, 1)

    @rule(partition=partitions, most=st.integers(1, 9), flag=st.sampled_from(["t", "true"]))
    def consume_batch(self, partition: Partition, most: int, flag: str) -> None:
        data = self.get(partition, f"?b={flag}&max={most}&wait=0")
        self.model.see_messages(partition, data, most)

    @rule(
        partition=partitions,
        other=st.none() | consumers,
        by=st.integers(0, 6),
        as_text=st.booleans(),
    )
    def commit(self, partition: Partition, other: str | None, by: int, *, as_text: bool) -> None:
        model, (topic, number) = self.model, partition
        read, end = model.read[partition], model.ends[partition]
        offset = min(read + by, end)
        holder = model.consumers.get(partition)
        consumer = other or holder or "ann"
        answer = self.send_commit(topic, str(number) if as_text else number, consumer, offset)
        if holder not in (None, consumer):
            assert answer.code == "NOT_ASSIGNED"
        elif answer.status == 200:
            expected = COMMIT | {"topicId": topic, "partitionId": number, "consumerId": consumer}
            expected |= {"offset": offset, "newReadOffset": offset, "logEndOffset": end}
            assert answer.data.items() >= (expected | {"committed": True}).items()
            model.read[partition] = offset
            model.assign(partition, consumer)
        else:
            assert (holder, offset) != (consumer, read), "there was nothing to write"
            self.check_trouble(answer)
            # The partition may have been assigned before its commit failed.
            if self.stats()[partition]["consumerId"] == consumer:
                model.assign(partition, consumer)
            elif answer.code == "STORAGE_FAILED":
                model.doubtful_consumers[partition].add(consumer)
            if answer.code == "STORAGE_FAILED":
                model.doubtful_reads[partition].add(offset)

    @rule(partition=partitions, beyond=st.booleans(), by=st.integers(1, 5))
    def commit_wrongly(self, partition: Partition, by: int, *, beyond: bool) -> None:
        model = self.model
        read, end = model.read[partition], model.ends[partition]
        # Below readOffset only where there is something below: less than 0 is another mistake.
        offset = max(0, read - by) if read and not beyond else end + by
        consumer = model.consumers.get(partition, "eve")
        assert self.send_commit(*partition, consumer, offset).code == "INVALID_OFFSET"

    @rule(topic=topics, consumer=consumers)
    def register(self, topic: str, consumer: str) -> None:
        model, path = self.model, f"/register/{topic}"
        possible = model.held(topic, consumer)
        answer = self.client.call("register", "POST", path, {"consumerId": consumer})
        if answer.status == 200:
            data = answer.data
            assert (data["topicId"], data["brokerId"]) == (topic, BROKER)
            assert data["consumerId"] == consumer
            assert data["partitionId"] in possible
            model.assign((topic, data["partitionId"]), consumer)
        elif not possible:
            assert answer.code == "NO_PARTITION_AVAILABLE"
        else:
            self.check_trouble(answer)
            assert (topic, possible[0]) not in model.consumers, "there was nothing to write"
            if answer.code == "STORAGE_FAILED":
                for number in possible:
                    model.doubtful_consumers[topic, number].add(consumer)

    @rule(wrong=st.sampled_from(WRONG))
    def ask_wrongly(self, wrong: tuple[str, str, Any, str]) -> None:
        method, url, body, code = wrong
        content_type = "text/plain" if code == "UNSUPPORTED_MEDIA_TYPE" else JSON
        answer = self.client.call("wrong", method, url, body, content_type)
        assert answer.code == code, f"{method} {url} {body}"
        assert ("Allow" in answer.headers) == (code == "METHOD_NOT_ALLOWED")

    # -- what the broker and its disk do

    @rule()
    def cycle(self) -> None:
        self.ask_cycle()

    @rule()
    def cycle_until_idle(self) -> None:
        while self.ask_cycle() is Outcome.MORE:
            pass
        if not (self.is_full or self.is_failing):
            assert not self.is_blocked
            self.see_stats()
            assert self.model.ends == {key: len(log) for key, log in self.model.logs.items()}

    @precondition(lambda self: not self.is_full)
    @rule(room=st.integers(0, 300))
    def run_full(self, room: int) -> None:
        self.disk.capacity_bytes = self.disk.used_bytes + room
        self.is_full = True

    @precondition(lambda self: self.is_full)
    @rule()
    def make_room(self) -> None:
        self.disk.capacity_bytes = None
        self.is_full = False

    @precondition(lambda self: not self.is_failing)
    @rule(after=st.integers(0, 4))
    def fail_a_sync(self, after: int) -> None:
        self.disk.fail("sync", after=after)
        self.is_failing = True

    # -- how a run ends

    @rule()
    def restart(self) -> None:
        is_whole = not (self.is_full or self.is_failing)
        self.heal()
        self.app.stop()
        answer = self.client.call("stats", "GET", "/stats")
        assert answer.code == "SHUTTING_DOWN"
        assert "Retry-After" in answer.headers
        self.system.stop()
        assert self.disk.open_files == self.disk.held_locks == ()
        counts["restarts"] += 1
        # After a clean stop of a sound broker all is durable: a loss of power takes nothing.
        self.start(self.disk.power_loss_worst() if is_whole else self.disk)

    @rule()
    def kill(self) -> None:
        self.heal()
        counts["kills"] += 1
        self.start(self.disk.kill())

    @rule(seed=st.integers(0, 1_000), in_order=st.booleans())
    def crash(self, seed: int, *, in_order: bool) -> None:
        self.heal()
        counts["crashes"] += 1
        # A request that was never answered may be there in part, as docs/durability.md has it.
        left = self.disk.crash(random.Random(seed), entries_in_order=in_order)
        self.start(left, torn=True)

    # -- what holds at any time

    @invariant()
    def all_is_there(self) -> None:
        self.see_stats()
        for partition in PARTITIONS:
            self.model.see_messages(partition, self.get(partition, f"?b=t&max={ALL}"), ALL)
        health = self.client.call("health", "GET", "/health")
        if health.status == 200:
            assert (health.data["status"], health.data["brokerId"]) == ("ok", BROKER)
        else:
            assert health.code == "STORAGE_FAILED"
            assert self.is_failing or self.is_full or self.is_blocked

    def teardown(self) -> None:
        try:
            if hasattr(self, "system"):
                self.restart()
                self.all_is_there()
                self.system.stop()
        finally:
            self.patch.undo()

    # -- inside

    def start(self, disk: SimulatedDisk, *, torn: bool = False) -> None:
        self.disk = disk
        self.system = System(self.config, disk=disk, clock=Clock(), spawn=spawn_inline)
        self.system.start()
        self.app = App(self.system)
        self.client = Client(self.app, counts)
        stats, surplus = self.stats(), {}
        for partition in PARTITIONS:
            data = self.get(partition, f"?b=t&max={ALL}")
            surplus[partition] = self.model.see_start(partition, stats[partition], data)
        self.model.adopt(surplus, torn=torn)

    def heal(self) -> None:
        self.disk.heal()
        self.disk.capacity_bytes = None
        self.is_full = self.is_failing = self.is_blocked = False

    def spell(self, message: Message) -> tuple[dict[str, Any], Item]:
        message_id, content, is_numbered = message
        self.number += 1
        content = {"number": self.number, "value": content} if is_numbered else content
        return {"messageId": message_id, "content": content}, Item.of(message_id, content)

    def send_batch(self, topic: str, batch: Sequence[Message]) -> None:
        spelled, items = zip(*map(self.spell, batch), strict=True)
        answer = self.client.call("batch", "POST", f"/ingress/{topic}", {"messages": spelled})
        if self.settle(answer, Sent.of(topic, items)):
            assert (answer.data["count"], answer.data["topicId"]) == (len(batch), topic)

    def settle(self, answer: Answer, sent: Sent) -> bool:
        """Take over what became of messages; tell whether they were accepted."""
        if answer.status == 200:
            self.model.keep(sent)
            return True
        self.check_trouble(answer)
        if answer.code == "STORAGE_FAILED":
            self.model.doubtful.append(sent)
        return False

    def check_trouble(self, answer: Answer) -> None:
        assert (answer.code == "STORAGE_FULL" and self.is_full) or (
            answer.code == "STORAGE_FAILED" and self.is_failing
        ), f"{answer.code} on a disk that does not fail so"

    def ask_cycle(self) -> Outcome:
        assert self.system._crew
        outcome: Outcome = self.system._crew.broker.ask(Cycle(), block=False).get(timeout=0).outcome
        self.is_blocked = outcome is Outcome.BLOCKED
        assert not self.is_blocked or self.is_full or self.is_failing
        return outcome

    def get(self, partition: Partition, query: str) -> Any:
        """Consume, which works whatever the disk cannot write."""
        topic, number = partition
        answer = self.client.call("consume", "GET", f"/consume/{BROKER}/{topic}/{number}{query}")
        assert answer.status == 200
        return answer.data

    def send_commit(self, topic: str, number: int | str, consumer: str, offset: int) -> Answer:
        body = {"topicId": topic, "partitionId": number, "consumerId": consumer, "offset": offset}
        return self.client.call("commit", "POST", "/commit", body)

    def stats(self) -> dict[Partition, Any]:
        data = self.client.call("stats", "GET", "/stats").data
        assert (data["brokerId"], data["topicCount"]) == (BROKER, len(TOPICS))
        assert {each["topicId"]: each["partitionCount"] for each in data["topics"]} == TOPICS
        assert data["ingressBuffer"]["bufferSize"] >= 0
        return {
            (topic["topicId"], each["partitionId"]): each
            for topic in data["topics"]
            for each in topic["partitions"]
        }

    def see_stats(self) -> None:
        stats = self.stats()
        assert stats.keys() == set(PARTITIONS)
        for partition, each in stats.items():
            self.model.see_offsets(partition, each)


def run(examples: int, seed: int, steps: int = 40) -> None:
    """Run so many sequences; raise what the shrunk one that fails raises, with its steps."""
    run_machine(ModelMachine, examples, seed, steps)


def summary(counts: Counter[str] = counts, kinds: Sequence[str] = KINDS) -> str:
    """Return what there was, in one line."""
    names = ("examples", "restarts", "kills", "crashes")
    parts = [f"{counts[name]} {name}" for name in names]
    for kind in kinds:
        by_status = {
            key.rpartition(" ")[2]: count
            for key, count in sorted(counts.items())
            if key.startswith(f"{kind} ")
        }
        answers = ", ".join(f"{status}: {count}" for status, count in by_status.items())
        parts.append(f"{sum(by_status.values())} {kind} ({answers})")
    return ", ".join(parts)


def main(arguments: Sequence[str]) -> int:
    """Run the long form; see `tests.crash.__main__`."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash model")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--examples", type=int, default=2_000)
    options = parser.parse_args(arguments)
    # What a failing disk makes the broker log is no news here; a defect of the web is.
    logging.getLogger("pandaq").setLevel(logging.CRITICAL)
    logging.getLogger("pandaq.web").setLevel(logging.ERROR)
    began = time.monotonic()
    try:
        run(options.examples, options.seed)
        group_model.run(options.examples, options.seed)
    except Exception as error:  # noqa: BLE001 (whatever a sequence raises is what was looked for)
        print(f"seed {options.seed}: {error!r}", *getattr(error, "__notes__", ()), sep="\n")
        return 1
    print(
        f"seed {options.seed}: {summary()}\n"
        f"groups: {summary(group_model.counts, group_model.KINDS)}\n"
        f"{time.monotonic() - began:.0f} s; lost 0, duplicated 0, reordered 0, skipped 0"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
