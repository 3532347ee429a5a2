"""Consumers that share a topic, against a real broker."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec.structs import replace

from pandaq.config import Retry, TopicConfig
from pandaq_sdk import (
    ClientClosed,
    ConnectionFailed,
    GroupConsumer,
    GroupMessage,
    NotFound,
    Producer,
)
from tests.web.live_broker import LiveBroker, config_for, live, until

TOPIC: Final = "orders"
PARTITIONS: Final = 4
LEASE_MS: Final = 1_500


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[LiveBroker]:
    topic = TopicConfig(TOPIC, PARTITIONS, retry=Retry(max_attempts=2, delay_ms=20))
    with live(config_for(tmp_path, [topic])) as broker:
        yield broker


def url_of(broker: LiveBroker) -> str:
    return f"http://127.0.0.1:{broker.port}"


def produce(broker: LiveBroker, count: int) -> list[str]:
    ids = [str(number) for number in range(count)]
    with Producer("broker_1", url_of(broker), TOPIC) as producer:
        producer.produce_batch({"messageId": each, "content": int(each)} for each in ids)
    return ids


def member(broker: LiveBroker, name: str, **options: Any) -> GroupConsumer:
    merged: dict[str, Any] = {
        "group": "g",
        "lease_ms": LEASE_MS,
        "poll_wait_ms": 500,
        "retries": 0,
    } | options
    return GroupConsumer(url_of(broker), "broker_1", name, TOPIC, **merged)


class Worker:
    """A consumer in a thread of its own, and what it has handled."""

    def __init__(
        self,
        broker: LiveBroker,
        name: str,
        handle: Callable[[GroupMessage], object] = lambda _: None,
        **options: Any,
    ) -> None:
        self.handled: list[str] = []
        self.changes: list[tuple[str, list[int]]] = []
        self.error: BaseException | None = None
        self._stop = threading.Event()
        self._handle = handle
        self.consumer = member(
            broker,
            name,
            on_assigned=lambda numbers: self.changes.append(("got", list(numbers))),
            on_revoked=lambda numbers: self.changes.append(("lost", list(numbers))),
            **options,
        )
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for message in self.consumer:
                self._handle(message)
                self.handled.append(message.message_id)
                if self._stop.is_set():
                    return
        except BaseException as error:  # noqa: BLE001 (for the test to see)
            self.error = error

    def close(self) -> None:
        self.consumer.close()
        self._thread.join(5)
        assert self.error is None

    def die(self) -> None:
        """End as a process does that is killed: nothing is heard of it any more."""
        membership = self.consumer._membership
        membership._left.set()
        membership._wake.set()
        for fetcher in self.consumer._fetchers.values():
            fetcher.stop()
        self._stop.set()


def readings(broker: LiveBroker) -> list[tuple[int, int]]:
    (topic,) = [each for each in broker.stats()["topics"] if each["topicId"] == TOPIC]
    (group,) = topic["groups"]
    return [(each["readOffset"], each["pendingMessages"]) for each in group["partitions"]]


class TestOne:
    def test_it_has_all_partitions_and_commits_what_it_handles(self, broker: LiveBroker) -> None:
        ids = produce(broker, 50)
        worker = Worker(broker, "ann", poll_max_messages=7)
        until(lambda: len(worker.handled) == 50)
        assert sorted(worker.handled) == sorted(ids)
        until(lambda: all(pending == 0 for _, pending in readings(broker)))
        assert worker.consumer.partitions == [0, 1, 2, 3]
        worker.close()
        assert worker.changes == [("got", [0, 1, 2, 3]), ("lost", [0, 1, 2, 3])]

    def test_what_was_in_hand_when_the_loop_was_left_comes_again(self, broker: LiveBroker) -> None:
        produce(broker, 10)
        with member(broker, "ann") as consumer:
            first = next(iter(consumer))
        with member(broker, "bob") as consumer:
            seen = []
            for message in consumer:
                seen.append((message.partition_id, message.offset))
                if len(seen) == 10:
                    break
        assert (first.partition_id, first.offset) in seen

    def test_what_was_handled_before_is_committed_by_close(self, broker: LiveBroker) -> None:
        produce(broker, 10)
        with member(broker, "ann") as consumer:
            loop = iter(consumer)
            first = next(loop)
            second = next(loop)
        if first.partition_id == second.partition_id:
            assert readings(broker)[first.partition_id][0] == first.offset

    def test_a_message_shows_all_that_the_broker_tells(self, broker: LiveBroker) -> None:
        with Producer("broker_1", url_of(broker), TOPIC) as producer:
            producer.produce({"messageId": "m", "content": None, "key": "k", "headers": {"a": "b"}})
        with member(broker, "ann") as consumer:
            message = next(iter(consumer))
            assert (message.topic_id, message.message_id, message.content) == (TOPIC, "m", None)
            assert (message.key, message.headers, message.attempts) == ("k", {"a": "b"}, 0)
            assert message.timestamp
            assert "partition_id" in repr(message)

    def test_a_refused_message_comes_again_and_ends_with_the_dead_letters(
        self, broker: LiveBroker
    ) -> None:
        produce(broker, 3)
        attempts: list[tuple[str, int]] = []

        def handle(message: GroupMessage) -> None:
            attempts.append((message.message_id, message.attempts))
            if message.message_id == "1":
                assert message.nack("not this one")

        worker = Worker(broker, "ann", handle)
        until(lambda: ("1", 1) in attempts)
        until(lambda: len(broker.stats()["topics"]) == 2)
        worker.close()
        assert Counter(attempts) == Counter([("0", 0), ("1", 0), ("2", 0), ("1", 1)])
        (letter,) = broker.consume(f"{TOPIC}.dlq")["messages"]
        assert letter["headers"]["dlq-reason"] == "not this one"

    def test_a_group_may_begin_at_the_end(self, broker: LiveBroker) -> None:
        produce(broker, 5)
        until(
            lambda: sum(p["logEndOffset"] for p in broker.stats()["topics"][0]["partitions"]) == 5
        )
        with member(broker, "ann", start="end") as consumer:
            consumer.join()
            assert sum(pending for _, pending in readings(broker)) == 0


class TestSeveral:
    def test_they_share_and_who_comes_and_goes_moves_partitions(self, broker: LiveBroker) -> None:
        ann = Worker(broker, "ann")
        until(lambda: ann.consumer.partitions == [0, 1, 2, 3])
        bob = Worker(broker, "bob")
        until(lambda: len(ann.consumer.partitions) == len(bob.consumer.partitions) == 2)
        ids = produce(broker, 60)
        until(lambda: len({*ann.handled, *bob.handled}) == 60)
        assert ann.handled
        assert bob.handled
        assert sorted(ann.handled + bob.handled) == sorted(ids)
        ann.close()
        until(lambda: bob.consumer.partitions == [0, 1, 2, 3])
        until(lambda: ("got", [0, 1]) in bob.changes)
        bob.close()

    def test_what_a_dead_one_had_goes_to_the_others(self, broker: LiveBroker) -> None:
        ids = produce(broker, 40)
        ann = Worker(broker, "ann", lambda _: threading.Event().wait(0.02))
        until(lambda: len(ann.handled) >= 3)
        ann.die()
        bob = Worker(broker, "bob")
        until(lambda: {*ann.handled, *bob.handled} == set(ids))
        until(lambda: bob.consumer.partitions == [0, 1, 2, 3])
        bob.close()

    def test_a_lease_lasts_however_long_a_message_is_handled(self, broker: LiveBroker) -> None:
        produce(broker, 1)
        worker = Worker(broker, "ann", lambda _: threading.Event().wait(2.5 * LEASE_MS / 1000))
        until(lambda: worker.handled == ["0"])
        until(lambda: sum(pending for _, pending in readings(broker)) == 0)
        worker.close()
        assert worker.changes[0] == ("got", [0, 1, 2, 3])
        assert len(worker.changes) == 2

    def test_the_rest_of_a_batch_is_not_handed_out_once_another_has_the_partition(
        self, broker: LiveBroker
    ) -> None:
        produce(broker, 40)
        consumer = member(broker, "ann")
        loop = iter(consumer)
        first = next(loop)
        broker.post(f"/unregister/{TOPIC}", {"consumerId": "ann", "group": "g"})
        other = member(broker, "bob", lease_ms=60_000)
        other.join()
        until(lambda: first.partition_id not in consumer.partitions or len(consumer.partitions) < 4)
        if first.partition_id not in consumer.partitions:
            following = next(loop)
            assert following.partition_id != first.partition_id
            assert first.nack() is False
        consumer.close()
        other.close()


class TestTrouble:
    def test_a_broker_that_is_away_for_a_while_is_waited_for(self, broker: LiveBroker) -> None:
        worker = Worker(broker, "ann")
        until(lambda: worker.consumer.partitions == [0, 1, 2, 3])
        port = broker.port
        broker.stop()
        threading.Event().wait(2 * LEASE_MS / 1000)
        broker.config = replace(broker.config, port=port)
        broker.start()
        produce(broker, 5)
        until(lambda: len(worker.handled) == 5)
        worker.close()

    def test_who_was_forgotten_joins_anew(self, broker: LiveBroker) -> None:
        worker = Worker(broker, "ann")
        until(lambda: worker.consumer.partitions == [0, 1, 2, 3])
        broker.post(f"/unregister/{TOPIC}", {"consumerId": "ann", "group": "g"})
        produce(broker, 5)
        until(lambda: len(set(worker.handled)) == 5)
        worker.close()

    def test_no_broker_is_told_at_once(self) -> None:
        consumer = GroupConsumer("http://127.0.0.1:1", "b", "ann", TOPIC, retries=0)
        with pytest.raises(ConnectionFailed):
            consumer.join()
        consumer.close()

    def test_no_topic_is_told(self, broker: LiveBroker) -> None:
        with (
            GroupConsumer(url_of(broker), "broker_1", "ann", "none") as consumer,
            pytest.raises(NotFound),
        ):
            next(iter(consumer))

    def test_a_closed_one_does_nothing_more(self, broker: LiveBroker) -> None:
        consumer = member(broker, "ann")
        consumer.close()
        consumer.close()
        with pytest.raises(ClientClosed):
            consumer.join()

    @pytest.mark.parametrize("name", ["lease_ms", "poll_wait_ms", "poll_max_messages"])
    def test_arguments_that_cannot_be_right_are_refused(self, name: str) -> None:
        options: dict[str, Any] = {name: 0}
        with pytest.raises(ValueError, match=name):
            GroupConsumer("http://127.0.0.1:1", "b", "ann", TOPIC, **options)
        with pytest.raises(ValueError, match="base_url"):
            GroupConsumer("nowhere", "b", "ann", TOPIC)
