"""Consumers that come and go, over HTTP and with real threads."""

import json
import threading
import time
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

import pytest

from pandaq.config import Retry, TopicConfig
from tests.actors.stage import Clock
from tests.web.live_broker import Answer, LiveBroker, config_for, live, until

TOPICS: Final = 30
LEASE_MS: Final = 10_000
GROUP: Final = "grün/1 &"
RETRY: Final = Retry(max_attempts=2, delay_ms=50, max_delay_ms=100)


@pytest.fixture(scope="module")
def mono() -> Clock:
    """The clock of the leases, which a test turns."""
    return Clock()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory, mono: Clock) -> Iterator[LiveBroker]:
    names = [f"t{n}" for n in range(TOPICS)]
    topics = [TopicConfig(name, 3, retry=RETRY) for name in names]
    topics.append(TopicConfig("once", 1, retry=RETRY, dedupe_window_ms=600_000))
    config = config_for(
        tmp_path_factory.mktemp("groups"),
        topics,
        max_header_bytes=100,
        max_delayed=3,
    )
    with live(config, monotonic=mono) as broker:
        yield broker


@pytest.fixture(scope="module")
def unused() -> Iterator[int]:
    return iter(range(TOPICS))


@pytest.fixture
def topic(unused: Iterator[int]) -> str:
    """A topic with three partitions that no other test uses."""
    return f"t{next(unused)}"


def register(broker: LiveBroker, topic: str, consumer: str, **more: Any) -> Any:
    return broker.post(f"/register/{topic}", {"consumerId": consumer, **more}).data


def share(broker: LiveBroker, topic: str, consumer: str, group: str = GROUP) -> Any:
    return register(broker, topic, consumer, group=group, leaseMs=LEASE_MS, share=True)


def heartbeat(broker: LiveBroker, topic: str, consumer: str, group: str = GROUP) -> Answer:
    return broker.post(f"/heartbeat/{topic}", {"consumerId": consumer, "group": group})


def numbers(data: Any) -> list[int]:
    return [each["partitionId"] for each in data["partitions"]]


def query(group: str = GROUP, **more: Any) -> str:
    return "?b=t" + "".join(
        f"&{name}={quote(str(value), safe='')}" for name, value in {"group": group, **more}.items()
    )


def fill(broker: LiveBroker, topic: str, count: int = 5, **more: Any) -> int:
    """Produce messages that all go to one partition; return which once all are there."""
    batch = [{"messageId": f"m{n}", "content": n, "key": "k", **more} for n in range(count)]
    assert broker.post(f"/ingress/{topic}", {"messages": batch}).status == 200

    def full() -> list[int]:
        ends = [each["logEndOffset"] for each in stats_of(broker, topic)["partitions"]]
        return [n + 1 for n, end in enumerate(ends) if end >= count]

    return until(full)[0] - 1


def stats_of(broker: LiveBroker, topic: str) -> Any:
    return next(each for each in broker.stats()["topics"] if each["topicId"] == topic)


class TestSharing:
    def test_partitions_are_divided_and_each_hears_of_it(
        self, broker: LiveBroker, topic: str
    ) -> None:
        data = share(broker, topic, "ann")
        assert (data["group"], data["leaseMs"], data["partitionId"]) == (GROUP, LEASE_MS, 0)
        assert data["partitions"] == [{"partitionId": n, "generation": 1} for n in range(3)]
        assert share(broker, topic, "bob")["partitions"] == [{"partitionId": 2, "generation": 2}]
        assert heartbeat(broker, topic, "ann").data == {
            "leaseMs": LEASE_MS,
            "partitions": [{"partitionId": n, "generation": 1} for n in range(2)],
        }
        share(broker, topic, "carl")
        assert share(broker, topic, "dora")["partitions"] == []
        assert share(broker, topic, "dora")["partitionId"] is None

    def test_who_leaves_gives_its_part_to_the_others(self, broker: LiveBroker, topic: str) -> None:
        share(broker, topic, "ann")
        share(broker, topic, "bob")
        answer = broker.post(f"/unregister/{topic}", {"consumerId": "ann", "group": GROUP})
        assert answer.data == {"released": [0, 1]}
        assert numbers(heartbeat(broker, topic, "bob").data) == [0, 1, 2]
        assert heartbeat(broker, topic, "ann").refusal == (404, "CONSUMER_NOT_FOUND")

    def test_who_dies_does_so_when_the_lease_is_over(
        self, broker: LiveBroker, topic: str, mono: Clock
    ) -> None:
        share(broker, topic, "ann")
        share(broker, topic, "bob")
        mono.now_ms += LEASE_MS // 2
        heartbeat(broker, topic, "bob")
        mono.now_ms += LEASE_MS // 2 + 1
        assert numbers(heartbeat(broker, topic, "bob").data) == [0, 1, 2]
        (group,) = stats_of(broker, topic)["groups"]
        assert group["group"] == GROUP
        assert group["consumers"] == [
            {"consumerId": "bob", "leaseMs": LEASE_MS, "leaseLeftMs": LEASE_MS, "share": True}
        ]
        assert [each["consumerId"] for each in group["partitions"]] == ["bob"] * 3


class TestFencing:
    def test_the_former_owner_is_refused_on_whatever_it_does(
        self, broker: LiveBroker, topic: str, mono: Clock
    ) -> None:
        number = fill(broker, topic)
        generation = share(broker, topic, "ann")["partitions"][number]["generation"]
        ann = {"consumerId": "ann", "group": GROUP, "generation": generation}
        where = {"topicId": topic, "partitionId": number, **ann}
        consume = f"/consume/broker_1/{topic}/{number}"
        assert broker.get(consume + query(consumerId="ann", generation=generation)).data["count"]
        mono.now_ms += LEASE_MS + 1
        share(broker, topic, "bob")
        share(broker, topic, "ann")
        refused = (409, "NOT_ASSIGNED")
        assert broker.get(consume + query(consumerId="ann", generation=1)).refusal == refused
        for path, more in (
            ("/commit", {"offset": 1}),
            ("/nack", {"offset": 1}),
            ("/seek", {"to": "end"}),
        ):
            assert broker.post(path, where | more).refusal == refused, path
        assert broker.get(consume + query()).data["startOffset"] == 0

    def test_who_waits_for_messages_hears_at_once_that_another_has_the_partition(
        self, broker: LiveBroker, topic: str
    ) -> None:
        share(broker, topic, "ann")
        answers: list[Answer] = []
        path = f"/consume/broker_1/{topic}/0{query(consumerId='ann', generation=1, wait=20_000)}"
        waiting = threading.Thread(target=lambda: answers.append(broker.get(path)))
        waiting.start()
        began = time.monotonic()
        until(lambda: _waits(broker, topic))
        broker.post(f"/unregister/{topic}", {"consumerId": "ann", "group": GROUP})
        waiting.join(10)
        assert [answer.refusal for answer in answers] == [(409, "NOT_ASSIGNED")]
        assert time.monotonic() - began < 10

    def test_a_generation_without_a_consumer_makes_no_sense(
        self, broker: LiveBroker, topic: str
    ) -> None:
        answer = broker.get(f"/consume/broker_1/{topic}/0{query(generation=1)}")
        assert answer.refusal == (400, "INVALID_REQUEST")


def _waits(broker: LiveBroker, topic: str) -> bool:
    assert broker.system._crew
    partition: Any = broker.system._crew.partitions[topic][0]
    return bool(partition._actor_weakref()._waiting)


class TestGroups:
    def test_each_reads_for_itself_and_the_unnamed_one_knows_nothing_of_it(
        self, broker: LiveBroker, topic: str
    ) -> None:
        number = fill(broker, topic)
        for group, offset in (("one", 2), ("two", 4)):
            body = {"topicId": topic, "partitionId": number, "consumerId": "c", "group": group}
            assert broker.post("/commit", body | {"offset": offset}).data["newReadOffset"] == offset
        starts = [
            broker.get(f"/consume/broker_1/{topic}/{number}{query(group)}").data["startOffset"]
            for group in ("", "one", "two", "never heard of")
        ]
        assert starts == [0, 2, 4, 0]
        assert {each["group"] for each in stats_of(broker, topic)["groups"]} == {"one", "two"}

    def test_a_new_one_begins_where_it_says(self, broker: LiveBroker, topic: str) -> None:
        number = fill(broker, topic)
        for start, expected in (("end", 5), ("beginning", 0)):
            register(broker, topic, "c", group=start, **{"from": start})
            group = next(g for g in stats_of(broker, topic)["groups"] if g["group"] == start)
            assert group["partitions"][number]["readOffset"] == expected

    def test_one_that_is_deleted_begins_anew(self, broker: LiveBroker, topic: str) -> None:
        number = fill(broker, topic)
        share(broker, topic, "ann")
        where = {"topicId": topic, "partitionId": number, "consumerId": "ann", "group": GROUP}
        broker.post("/commit", where | {"offset": 3})
        path = f"/groups/{topic}/{quote(GROUP, safe='')}"
        assert broker.call("DELETE", path).refusal == (409, "GROUP_IN_USE")
        broker.post(f"/unregister/{topic}", {"consumerId": "ann", "group": GROUP})
        assert broker.call("DELETE", path).data["deleted"] is True
        assert broker.call("DELETE", path).refusal == (404, "GROUP_NOT_FOUND")
        assert broker.get(f"/consume/broker_1/{topic}/{number}{query()}").data["startOffset"] == 0


class TestSeeking:
    def test_by_offset_time_and_to_the_ends(self, broker: LiveBroker, topic: str) -> None:
        number = fill(broker, topic, 3)
        time.sleep(0.01)
        between_ms = time.time_ns() // 1_000_000
        fill(broker, topic, 5)
        end = until(
            lambda: stats_of(broker, topic)["partitions"][number]["logEndOffset"] == 8 and 8
        )
        where = {"topicId": topic, "partitionId": number, "consumerId": "c", "group": GROUP}
        for target, offset in (
            ({"offset": 2}, 2),
            ({"to": "end"}, 8),
            ({"timestamp": between_ms}, 3),
            ({"to": "beginning"}, 0),
            ({"timestamp": between_ms + 600_000}, 8),
            ({"timestamp": 0}, 0),
        ):
            data = broker.post("/seek", where | target).data
            assert (data["newReadOffset"], data["logEndOffset"]) == (offset, end), target
        data = broker.get(f"/consume/broker_1/{topic}/{number}{query(max=1)}").data
        assert data["messages"][0]["offset"] == 1

    @pytest.mark.parametrize(
        ("target", "code"),
        [
            ({}, "INVALID_REQUEST"),
            ({"offset": 1, "to": "end"}, "INVALID_REQUEST"),
            ({"to": "middle"}, "INVALID_REQUEST"),
            ({"offset": -1}, "INVALID_OFFSET"),
            ({"offset": 1}, "INVALID_OFFSET"),
        ],
    )
    def test_nowhere_else(self, broker: LiveBroker, target: dict[str, Any], code: str) -> None:
        where = {"topicId": "t29", "partitionId": 0, "consumerId": "c"}
        assert broker.post("/seek", where | target).refusal == (400, code)

    def test_reading_anywhere_moves_nothing(self, broker: LiveBroker, topic: str) -> None:
        number = fill(broker, topic)
        path = f"/consume/broker_1/{topic}/{number}"
        data = broker.get(path + query(offset=3, max=1)).data
        assert [each["offset"] for each in data["messages"]] == [4]
        assert (data["startOffset"], data["endOffset"]) == (3, 4)
        assert broker.get(path + query(offset=6)).refusal == (400, "INVALID_OFFSET")
        assert broker.get(path + query()).data["startOffset"] == 0


class TestWhatMessagesCarry:
    def test_key_headers_and_time_come_back(self, broker: LiveBroker, topic: str) -> None:
        number = fill(broker, topic, 1, headers={"a|b": "ü\n"})
        (message,) = broker.consume(topic, partition=number)["messages"]
        assert message["key"] == "k"
        assert message["headers"] == {"a|b": "ü\n"}
        assert message["timestamp"].endswith("Z")
        single = broker.consume(topic, "", partition=number)["messages"]
        assert single == message

    def test_one_key_is_one_partition(self, broker: LiveBroker, topic: str) -> None:
        number = fill(broker, topic, 20)
        ends = [each["logEndOffset"] for each in stats_of(broker, topic)["partitions"]]
        assert ends[number] == sum(ends) == 20

    @pytest.mark.parametrize(
        ("more", "status"),
        [
            ({"key": ""}, 400),
            ({"key": 1}, 400),
            ({"headers": {"a": 1}}, 400),
            ({"headers": ["a"]}, 400),
            ({"headers": {"a": "x" * 101}}, 413),
            ({"delayMs": -1}, 400),
            ({"delayMs": 1, "deliverAt": 1}, 400),
            ({"ttlMs": 0}, 400),
        ],
    )
    def test_what_cannot_be_is_refused(
        self, broker: LiveBroker, more: dict[str, Any], status: int
    ) -> None:
        message = {"messageId": "m", "content": 1, **more}
        assert broker.post("/ingress/t29", {"message": message}).status == status

    def test_what_is_delayed_comes_later_and_there_is_a_limit(
        self, broker: LiveBroker, topic: str
    ) -> None:
        began = time.monotonic()
        number = fill(broker, topic, 2, delayMs=150)
        assert time.monotonic() - began >= 0.15
        late = {"messageId": "late", "content": 1, "delayMs": 600_000}
        late_body = {"messages": [late] * 4}
        answer = broker.post(f"/ingress/{topic}", late_body)
        assert answer.refusal == (429, "BUFFER_FULL")
        assert answer.headers["Retry-After"]
        assert len(broker.consume(topic, partition=number)["messages"]) == 2

    def test_what_has_expired_is_not_given_out_and_counted(
        self, broker: LiveBroker, topic: str
    ) -> None:
        number = fill(broker, topic, 2, ttlMs=1)
        time.sleep(0.01)
        data = broker.consume(topic, "?b=t", partition=number)
        assert (data["messages"], data["startOffset"], data["endOffset"]) == ([], 0, 2)
        assert stats_of(broker, topic)["partitions"][number]["expiredMessages"] == 2
        assert broker.commit(topic, 2, partition=number).status == 200


class TestRefusing:
    def test_a_copy_comes_again_for_the_group_alone_then_goes_to_the_dead_letters_and_back(
        self, broker: LiveBroker, topic: str
    ) -> None:
        number = fill(broker, topic, 1)
        share(broker, topic, "ann")
        where = {"topicId": topic, "partitionId": number, "consumerId": "ann", "group": GROUP}
        path = f"/consume/broker_1/{topic}/{number}{query(wait=5_000)}"
        assert broker.post("/nack", where | {"offset": 1}).data["attempts"] == 1
        broker.post("/commit", where | {"offset": 1})
        (copy,) = broker.get(path).data["messages"]
        assert (copy["messageId"], copy["offset"], copy["attempts"]) == ("m0", 2, 1)
        assert [each["offset"] for each in broker.consume(topic, partition=number)["messages"]] == [
            1
        ]
        dead = f"{topic}.dlq"
        data = broker.post("/nack", where | {"offset": 2, "reason": "no | good"}).data
        assert (data["attempts"], data["topicId"]) == (2, dead)
        broker.post("/commit", where | {"offset": 2})
        (letter,) = broker.consume(dead)["messages"]
        assert letter["headers"] == {
            "dlq-topic": topic,
            "dlq-partition": str(number),
            "dlq-offset": "1",
            "dlq-group": GROUP,
            "dlq-attempts": "2",
            "dlq-reason": "no | good",
        }
        assert broker.post(f"/redrive/{dead}", {}).data["moved"] == 1
        (again,) = broker.get(path).data["messages"]
        assert (again["messageId"], again["attempts"]) == ("m0", 0)
        assert "headers" not in again
        assert broker.post(f"/redrive/{topic}", {}).data["moved"] == 0

    def test_dead_letters_are_there_after_a_restart(self, broker: LiveBroker, topic: str) -> None:
        number = fill(broker, topic, 1)
        where = {"topicId": topic, "partitionId": number, "consumerId": "c"}
        broker.commit(topic, 0, partition=number)
        for _ in range(2):
            answer = broker.post("/nack", where | {"offset": 1, "delayMs": 0})
            assert answer.data["attempts"] == 1
        until(lambda: stats_of(broker, topic)["partitions"][number]["logEndOffset"] == 3)
        assert broker.post("/nack", where | {"offset": 3}).data["topicId"] == f"{topic}.dlq"
        broker.restart()
        assert broker.consume(f"{topic}.dlq")["count"] == 1

    def test_what_is_committed_or_not_there_cannot_be_refused(
        self, broker: LiveBroker, topic: str
    ) -> None:
        number = fill(broker, topic, 2)
        broker.commit(topic, 1, partition=number)
        where = {"topicId": topic, "partitionId": number, "consumerId": "c"}
        for offset in (0, 1, 3):
            answer = broker.post("/nack", where | {"offset": offset})
            assert answer.refusal == (400, "INVALID_OFFSET")
        assert broker.post("/nack", where | {"offset": 2, "delayMs": -1}).status == 400

    def test_there_is_nothing_to_drive_back_where_nothing_died(self, broker: LiveBroker) -> None:
        assert broker.post("/redrive/none", {}).refusal == (404, "TOPIC_NOT_FOUND")
        assert broker.post("/redrive/t29.dlq", {}).refusal == (404, "TOPIC_NOT_FOUND")
        assert broker.post("/redrive/t29", {}).data["moved"] == 0


class TestDedupe:
    def test_a_repeated_id_is_answered_as_before_and_not_written_again(
        self, broker: LiveBroker
    ) -> None:
        for value, duplicate in ((1, None), (2, True)):
            body = {"message": {"messageId": "a|1", "content": value}}
            assert broker.post("/ingress/once", body).data.get("duplicate") is duplicate
        batch = [{"messageId": key, "content": 1} for key in ("b", "a|1", "b", "c")]
        data = broker.post("/ingress/once", {"messages": batch}).data
        assert (data["count"], data["duplicates"]) == (4, ["a|1", "b"])
        until(lambda: stats_of(broker, "once")["partitions"][0]["logEndOffset"] == 3)
        found = [
            (each["messageId"], each["content"]) for each in broker.consume("once")["messages"]
        ]
        assert found == [("a|1", 1), ("b", 1), ("c", 1)]
        broker.restart()
        body = {"message": {"messageId": "c", "content": 9}}
        assert broker.post("/ingress/once", body).data["duplicate"] is True
        dedupe = stats_of(broker, "once")["dedupe"]
        assert dedupe == {"windowMs": 600_000, "remembered": 3, "forgottenEarly": 0}

    def test_of_many_that_send_one_id_at_once_one_is_written(self, broker: LiveBroker) -> None:
        answers: list[Answer] = []
        body = json.dumps({"message": {"messageId": "race", "content": 1}}).encode()

        def send() -> None:
            answers.append(broker.call("POST", "/ingress/once", body))

        threads = [threading.Thread(target=send) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (
            sorted(answer.data.get("duplicate", False) for answer in answers)
            == [False] + [True] * 7
        )
