import base64
import errno
import json
import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pykka
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pandaq.actors.asking import Ref
from pandaq.actors.crew import spawn_thread
from pandaq.actors.reply import Reply
from tests.inline import InlineRef, UntoldRef
from tests.simulated_disk import SimulatedDisk
from tests.web.live_broker import Answer, LiveBroker, config_for, live, until

TIMESTAMP: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
TOPICS: Final = 40
EVERY_TYPE: Final[list[Any]] = [
    *(None, True, False, 0, -1, 1.5, 1e300, 2**70, "", "x|y\nz", "\x00\x1f\x7f\u2028\U0001f600"),
    *([], {}, [None, [False, {"": 0}]], {"a|b": {"c\nd": ["|", "\r\n"]}, "é": "ß"}),
]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveBroker]:
    topics = {"orders": 3, "events": 1} | {f"t{n}": 1 for n in range(TOPICS)}
    config = config_for(tmp_path_factory.mktemp("contract"), topics, max_batch_messages=50)
    with live(config) as broker:
        yield broker


@pytest.fixture(scope="module")
def unused() -> Iterator[int]:
    return iter(range(TOPICS))


@pytest.fixture
def topic(unused: Iterator[int]) -> str:
    """A topic with one partition that no other test uses."""
    return f"t{next(unused)}"


def fields(data: Any) -> dict[str, type]:
    """Return the names and the types of an answer's data, and check its timestamp."""
    if "timestamp" in data:
        assert TIMESTAMP.fullmatch(data["timestamp"])
    return {name: type(value) for name, value in data.items()}


class TestRegister:
    def test_a_consumer_gets_a_partition(self, broker: LiveBroker, topic: str) -> None:
        data = broker.post(f"/register/{topic}", {"consumerId": "c-1"}).data
        assert fields(data) == {
            "topicId": str,
            "brokerId": str,
            "consumerId": str,
            "partitionId": int,
            "group": str,
            "leaseMs": type(None),
            "partitions": list,
            "timestamp": str,
        }
        assert (data["topicId"], data["brokerId"]) == (topic, "broker_1")
        assert (data["consumerId"], data["partitionId"]) == ("c-1", 0)

    def test_the_same_consumer_gets_the_same_partition_and_the_next_the_next(
        self, broker: LiveBroker
    ) -> None:
        def partition_of(consumer: str) -> int:
            body = {"brokerId": "broker_1", "consumerId": consumer}
            return int(broker.post("/register/orders", body).data["partitionId"])

        assert [partition_of(name) for name in ("a", "b", "a", "c", "b")] == [0, 1, 0, 2, 1]
        answer = broker.post("/register/orders", {"consumerId": "d"})
        assert answer.refusal == (409, "NO_PARTITION_AVAILABLE")
        assert "3 partitions of topic 'orders'" in answer.error

    def test_a_consumer_id_may_have_any_letters(self, broker: LiveBroker, topic: str) -> None:
        name = "Büro 2 / \N{GRINNING FACE}"
        data = broker.post(f"/register/{topic}", {"consumerId": name}).data
        assert data["consumerId"] == name
        assert broker.commit(topic, 0, name).data["consumerId"] == name


class TestIngress:
    def test_one_message_is_taken(self, broker: LiveBroker, topic: str) -> None:
        body = {"brokerId": "broker_1", "message": {"messageId": "m-1", "content": {"a": 1}}}
        data = broker.post(f"/ingress/{topic}", body).data
        assert fields(data) == {"messageId": str, "topicId": str, "timestamp": str}
        assert (data["messageId"], data["topicId"]) == ("m-1", topic)

    def test_a_batch_is_taken(self, broker: LiveBroker, topic: str) -> None:
        data = broker.send(("a", 1), ("b", 2), topic=topic).data
        assert fields(data) == {"count": int, "topicId": str, "timestamp": str}
        assert (data["count"], data["topicId"]) == (2, topic)
        assert [each["content"] for each in broker.consume(topic)["messages"]] == [1, 2]

    def test_an_integer_message_id_is_kept_as_its_text(
        self, broker: LiveBroker, topic: str
    ) -> None:
        body: Any = {"message": {"messageId": 42, "content": 1}}
        assert broker.post(f"/ingress/{topic}", body).data["messageId"] == "42"
        assert broker.consume(topic)["messages"][0]["messageId"] == "42"

    def test_a_topic_id_in_the_message_and_unknown_fields_do_no_harm(
        self, broker: LiveBroker, topic: str
    ) -> None:
        message = {"messageId": "m", "content": 1, "topicId": topic, "someday": {"a": [1]}}
        unknown = {"group": 1, "leaseMs": [], "x": {"y": None}}
        body = {"brokerId": None, "message": message, **unknown}
        assert broker.post(f"/ingress/{topic}", body).data["messageId"] == "m"

    def test_a_batch_with_one_wrong_message_is_refused_as_a_whole(
        self, broker: LiveBroker, topic: str
    ) -> None:
        before = broker.stats()["ingressBuffer"]["logEndOffset"]
        for wrong in ({"messageId": "b"}, {"messageId": "", "content": 1}, {"content": 1}, 1):
            batch = [{"messageId": "a", "content": 1}, wrong]
            answer = broker.post(f"/ingress/{topic}", {"messages": batch})
            assert answer.refusal == (400, "INVALID_REQUEST")
        assert broker.stats()["ingressBuffer"]["logEndOffset"] == before

    def test_neither_or_both_of_message_and_messages_are_refused(
        self, broker: LiveBroker, topic: str
    ) -> None:
        message = {"messageId": "a", "content": 1}
        wrong: list[Any] = [{}, {"message": message, "messages": [message]}, {"messages": []}]
        for body in wrong:
            answer = broker.post(f"/ingress/{topic}", body)
            assert answer.refusal == (400, "INVALID_REQUEST")
            assert "message" in answer.error


class TestConsume:
    def test_one_message_is_an_object_and_none_is_null(
        self, broker: LiveBroker, topic: str
    ) -> None:
        assert broker.consume(topic, "") == {
            "messages": None,
            "count": 0,
            "startOffset": 0,
            "endOffset": 0,
        }
        broker.send(("a", {"n": 1}), ("b", 2), topic=topic)
        data = broker.consume(topic, "?wait=5000")
        stamp = data["messages"].pop("timestamp")
        assert abs(datetime.fromisoformat(stamp) - datetime.now(UTC)) < timedelta(minutes=1)
        assert data == {
            "messages": {"topicId": topic, "messageId": "a", "content": {"n": 1}, "offset": 1},
            "count": 1,
            "startOffset": 0,
            "endOffset": 1,
        }

    @pytest.mark.parametrize("flag", ["b=t", "b=true", "b=TRUE"])
    def test_a_batch_is_a_list(self, broker: LiveBroker, topic: str, flag: str) -> None:
        empty = {"messages": [], "count": 0, "startOffset": 0, "endOffset": 0}
        assert broker.consume(topic, f"?{flag}") == empty
        broker.send(("a", 1), ("b", 2), topic=topic)
        data = broker.consume(topic, f"?{flag}&wait=5000")
        for each in data["messages"]:
            assert each.pop("timestamp").endswith("Z")
        assert data == {
            "messages": [
                {"topicId": topic, "messageId": "a", "content": 1, "offset": 1},
                {"topicId": topic, "messageId": "b", "content": 2, "offset": 2},
            ],
            "count": 2,
            "startOffset": 0,
            "endOffset": 2,
        }

    def test_it_is_a_peek_that_begins_behind_the_last_commit(
        self, broker: LiveBroker, topic: str
    ) -> None:
        broker.send(*((n, n) for n in range(1, 6)), topic=topic)
        first = broker.consume(topic)
        assert broker.consume(topic) == first
        broker.commit(topic, 3)
        rest = broker.consume(topic)
        assert [each["offset"] for each in rest["messages"]] == [4, 5]
        assert (rest["startOffset"], rest["endOffset"]) == (3, 5)
        broker.commit(topic, 5)
        assert broker.consume(topic, "?b=t") == {
            "messages": [],
            "count": 0,
            "startOffset": 5,
            "endOffset": 5,
        }

    def test_max_limits_a_batch(self, broker: LiveBroker, topic: str) -> None:
        broker.send(*((n, n) for n in range(5)), topic=topic)
        assert broker.consume(topic, "?b=t&wait=5000&max=2")["endOffset"] == 2
        assert broker.consume(topic, "?b=t&max=99999999")["count"] == 5
        assert broker.consume(topic, "?max=3")["count"] == 1

    def test_a_batch_has_500_messages_where_no_max_is_given(
        self, broker: LiveBroker, topic: str
    ) -> None:
        for start in range(0, 550, 50):
            assert broker.send(*((n, n) for n in range(start, start + 50)), topic=topic).data
        until(lambda: broker.consume(topic, "?b=t&max=600")["count"] == 550)
        assert broker.consume(topic, "?b=t")["count"] == 500

    def test_a_waiting_consumer_is_answered_when_a_message_comes(
        self, broker: LiveBroker, topic: str
    ) -> None:
        answers: list[Any] = []
        waiting = threading.Thread(
            target=lambda: answers.append(broker.consume(topic, "?b=t&wait=10000"))
        )
        waiting.start()
        broker.send(("a", 1), topic=topic)
        waiting.join(5)
        assert [answer["count"] for answer in answers] == [1]

    def test_a_waiting_consumer_is_answered_empty_when_nothing_comes(
        self, broker: LiveBroker, topic: str
    ) -> None:
        assert broker.consume(topic, "?wait=20")["messages"] is None

    def test_a_numeric_string_of_any_length_up_to_nine_is_a_partition(
        self, broker: LiveBroker, topic: str
    ) -> None:
        assert broker.get(f"/consume/broker_1/{topic}/000").data["count"] == 0


class TestCommit:
    def test_what_is_committed_is_gone(self, broker: LiveBroker, topic: str) -> None:
        broker.send(("a", 1), ("b", 2), topic=topic)
        broker.consume(topic)
        body = {"topicId": topic, "partitionId": 0, "consumerId": "c", "offset": 1}
        data = broker.post("/commit", body | {"brokerId": "broker_1"}).data
        assert fields(data) == {
            "committed": bool,
            "offset": int,
            "topicId": str,
            "partitionId": int,
            "consumerId": str,
            "logEndOffset": int,
            "newReadOffset": int,
            "timestamp": str,
        }
        assert data | {"timestamp": ""} == {
            "committed": True,
            "offset": 1,
            "topicId": topic,
            "partitionId": 0,
            "consumerId": "c",
            "logEndOffset": 2,
            "newReadOffset": 1,
            "timestamp": "",
        }
        assert broker.consume(topic)["messages"][0]["messageId"] == "b"

    def test_a_numeric_string_is_a_partition_id(self, broker: LiveBroker, topic: str) -> None:
        body = {"topicId": topic, "partitionId": "0", "consumerId": "c", "offset": 0}
        assert broker.post("/commit", body).data["partitionId"] == 0

    def test_the_same_offset_again_is_a_success_that_changes_nothing(
        self, broker: LiveBroker, topic: str
    ) -> None:
        broker.send(("a", 1), topic=topic)
        broker.consume(topic)
        answers = [broker.commit(topic, 1).data["newReadOffset"] for _ in range(3)]
        assert answers == [1, 1, 1]

    def test_below_the_read_offset_and_beyond_the_log_end_it_is_refused(
        self, broker: LiveBroker, topic: str
    ) -> None:
        broker.send(("a", 1), ("b", 2), topic=topic)
        broker.consume(topic)
        broker.commit(topic, 1)
        for offset in (0, -1, 3, 10**30):
            answer = broker.commit(topic, offset)
            assert answer.refusal == (400, "INVALID_OFFSET")
            assert f"offset {offset} " in answer.error
            assert "from 1 (readOffset) to 2 (logEndOffset)" in answer.error
        assert broker.consume(topic)["startOffset"] == 1

    def test_a_commit_for_a_partition_that_nobody_has_assigns_it(
        self, broker: LiveBroker, topic: str
    ) -> None:
        assert broker.commit(topic, 0, "first").data["committed"] is True
        assert broker.post(f"/register/{topic}", {"consumerId": "first"}).data["partitionId"] == 0
        answer = broker.commit(topic, 0, "second")
        assert answer.refusal == (409, "NOT_ASSIGNED")
        assert "'second'" in answer.error
        taken = broker.post(f"/register/{topic}", {"consumerId": "second"})
        assert taken.refusal == (409, "NO_PARTITION_AVAILABLE")

    def test_a_refused_commit_assigns_nothing(self, broker: LiveBroker, topic: str) -> None:
        assert broker.commit(topic, 9, "first").error_code == "INVALID_OFFSET"
        assert broker.commit(topic, 0, "second").data["committed"] is True


class TestStats:
    def test_its_shape_is_exactly_this_and_some_more(self, broker: LiveBroker, topic: str) -> None:
        broker.send(("a", 1), ("b", 2), topic=topic)
        broker.consume(topic)
        broker.commit(topic, 1)
        data = broker.get("/stats").data
        assert fields(data) == {
            "brokerId": str,
            "durability": str,
            "topicCount": int,
            "topics": list,
            "ingressBuffer": dict,
            "delayed": dict,
            "timestamp": str,
        }
        assert (data["brokerId"], data["topicCount"]) == ("broker_1", TOPICS + 2)
        assert [each["topicId"] for each in data["topics"]][:2] == ["orders", "events"]
        orders = data["topics"][0]
        assert fields(orders) == {
            "topicId": str,
            "partitionCount": int,
            "partitions": list,
            "consumers": list,
            "groups": list,
        }
        assert [each["partitionId"] for each in orders["partitions"]] == [0, 1, 2]
        found = next(each for each in data["topics"] if each["topicId"] == topic)
        assert found["partitions"] == [
            {
                "partitionId": 0,
                "logEndOffset": 2,
                "readOffset": 1,
                "bufferSize": 1,
                "pendingMessages": 1,
                "expiredMessages": 0,
                "consumerId": "c",
                "generation": 1,
            }
        ]
        ingress = data["ingressBuffer"]
        assert fields(ingress) == dict.fromkeys(("bufferSize", "logEndOffset", "readOffset"), int)

    def test_no_read_offset_ever_passes_its_log_end(self, broker: LiveBroker, topic: str) -> None:
        total = 400

        def produce(first: int) -> None:
            for number in range(first, first + total // 2, 10):
                assert broker.send(*((n, n) for n in range(number, number + 10)), topic=topic).data

        def commit() -> None:
            end = 0
            while end < total:
                end = broker.consume(topic, "?b=t&wait=5000&max=7")["endOffset"]
                assert broker.commit(topic, end).data

        threads = [
            threading.Thread(target=produce, args=(0,)),
            threading.Thread(target=produce, args=(total // 2,)),
            threading.Thread(target=commit),
        ]
        for thread in threads:
            thread.start()
        looks = 0
        while any(thread.is_alive() for thread in threads):
            stats = broker.stats()
            parts = [part for each in stats["topics"] for part in each["partitions"]]
            for queue in (stats["ingressBuffer"], *parts):
                assert queue["logEndOffset"] >= queue["readOffset"]
            for part in parts:
                pending = part["logEndOffset"] - part["readOffset"]
                assert part["pendingMessages"] == pending
                assert part["bufferSize"] <= pending
            looks += 1
        assert looks > 5
        assert broker.consume(topic, "?b=t")["startOffset"] == total


class TestHeaders:
    @pytest.mark.parametrize("value", ["Basic YTpi", "Basic !", "Basic", "Bearer x", "x" * 5000])
    def test_credentials_are_ignored(self, broker: LiveBroker, topic: str, value: str) -> None:
        headers = {"Content-Type": "application/json", "Authorization": value}
        body = json.dumps({"message": {"messageId": "m", "content": 1}}).encode()
        assert broker.call("POST", f"/ingress/{topic}", body, headers).status == 200
        assert broker.call("GET", "/stats", headers=headers).status == 200

    def test_a_request_of_the_first_pandaq_clients_is_served(
        self, broker: LiveBroker, topic: str
    ) -> None:
        basic = base64.b64encode(b"user:pass\xc3\xa4").decode()
        headers = {
            "Content-Type": "application/json",
            "Authorization": f"Basic {basic}",
            "Accept": "application/json, text/plain, */*",
            "User-Agent": "pandaq-client/1.0",
        }

        def call(method: str, path: str, body: Any = None) -> Any:
            text = json.dumps(body).encode() if body else None
            return broker.call(method, path, text, headers).data

        assert call("POST", f"/register/{topic}", {"brokerId": "broker_1", "consumerId": "c"})
        message = {"messageId": 7, "content": {"orderId": "123", "amount": 99.99}, "topicId": topic}
        assert call("POST", f"/ingress/{topic}", {"brokerId": "broker_1", "message": message})
        assert call("POST", f"/ingress/{topic}", {"brokerId": "broker_1", "messages": [message]})
        until(lambda: call("GET", f"/consume/broker_1/{topic}/0?b=t")["count"] == 2)
        assert call("GET", f"/consume/broker_1/{topic}/0")["messages"]["messageId"] == "7"
        commit = {"topicId": topic, "partitionId": "0", "consumerId": "c", "offset": 2}
        assert call("POST", "/commit", commit | {"brokerId": "broker_1"})["newReadOffset"] == 2

    @pytest.mark.parametrize("path", ["/stats", "/health", "/consume/broker_1/events/0"])
    def test_head_answers_as_get_does_without_its_body(self, broker: LiveBroker, path: str) -> None:
        answer = broker.call("HEAD", path, headers={})
        assert (answer.status, answer.body) == (200, b"")
        assert int(answer.headers["Content-Length"]) > 10
        assert answer.headers["Content-Type"] == "application/json"

    def test_head_of_what_can_only_be_posted_is_refused(self, broker: LiveBroker) -> None:
        answer = broker.call("HEAD", "/commit", headers={})
        assert (answer.status, answer.headers["Allow"], answer.body) == (405, "POST", b"")

    def test_a_connection_is_kept_for_the_next_call(self, broker: LiveBroker) -> None:
        request = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"
        with broker.connected() as connection:
            for _ in range(3):
                connection.sendall(request)
                answer = b""
                while not answer.endswith(b"}}"):
                    answer += connection.recv(1000)
                assert answer.startswith(b"HTTP/1.1 200 OK")


class TestErrors:
    @pytest.mark.parametrize(
        ("method", "path", "body", "status", "code", "words"),
        [
            ("GET", "/nothing", None, 404, "NOT_FOUND", "/nothing"),
            ("GET", "/", None, 404, "NOT_FOUND", "README"),
            ("GET", "/consume/other/events/0", None, 404, "BROKER_NOT_FOUND", "'other'"),
            ("GET", "/consume/broker_1/none/0", None, 404, "TOPIC_NOT_FOUND", "'none'"),
            ("GET", "/consume/broker_1/events/1", None, 404, "PARTITION_NOT_FOUND", "0 to 0"),
            ("GET", "/consume/broker_1/events/x", None, 400, "INVALID_REQUEST", "partitionId"),
            ("POST", "/register/none", {"consumerId": "c"}, 404, "TOPIC_NOT_FOUND", "'none'"),
            ("POST", "/register/events", {}, 400, "INVALID_REQUEST", "consumerId is missing"),
            (
                *("POST", "/register/events", {"brokerId": "b", "consumerId": "c"}),
                *(404, "BROKER_NOT_FOUND", "'broker_1', not 'b'"),
            ),
            (
                *("POST", "/ingress/none", {"message": {"messageId": "a", "content": 1}}),
                *(404, "TOPIC_NOT_FOUND", "configuration"),
            ),
            (
                *("POST", "/commit"),
                {"topicId": "events", "partitionId": 9, "consumerId": "c", "offset": 0},
                *(404, "PARTITION_NOT_FOUND", "no partition 9"),
            ),
            (
                *("POST", "/commit"),
                {"topicId": "none", "partitionId": 0, "consumerId": "c", "offset": 0},
                *(404, "TOPIC_NOT_FOUND", "'none'"),
            ),
            ("DELETE", "/stats", None, 405, "METHOD_NOT_ALLOWED", "use GET"),
        ],
    )
    def test_a_refusal_has_its_status_its_code_and_a_sentence(
        self,
        broker: LiveBroker,
        method: str,
        path: str,
        body: Any,
        status: int,
        code: str,
        words: str,
    ) -> None:
        answer = broker.call(method, path, json.dumps(body).encode() if body is not None else None)
        assert answer.refusal == (status, code)
        assert words in answer.error

    @pytest.mark.parametrize(
        ("path", "allowed"),
        [
            *(("/commit", "POST"), ("/ingress/events", "POST"), ("/register/events", "POST")),
            *(("/stats", "GET"), ("/consume/broker_1/events/0", "GET"), ("/health", "GET")),
        ],
    )
    def test_405_says_what_is_allowed(self, broker: LiveBroker, path: str, allowed: str) -> None:
        other = "GET" if allowed == "POST" else "POST"
        for method in (other, "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "ANY", "BREW"):
            answer = broker.call(method, path, headers={})
            assert answer.refusal == (405, "METHOD_NOT_ALLOWED")
            assert answer.headers["Allow"] == allowed

    def test_another_content_type_is_refused(self, broker: LiveBroker) -> None:
        answer = broker.call("POST", "/commit", b"{}", {"Content-Type": "text/plain"})
        assert answer.refusal == (415, "UNSUPPORTED_MEDIA_TYPE")
        assert "application/json" in answer.error

    def test_a_message_a_batch_and_a_body_have_their_limits(self, tmp_path: Path) -> None:
        config = config_for(
            tmp_path, max_message_bytes=10, max_body_bytes=2000, max_batch_messages=3
        )
        with live(config) as broker:
            assert broker.send(("a", "x" * 8), topic="events").data["count"] == 1
            for messages, words in (
                ([("m-1", "x" * 9)], "(messageId 'm-1') has 11 bytes and may have at most 10"),
                ([("m", n) for n in range(4)], "the batch has 4 messages and may have at most 3"),
                ([("m", "x" * 2000)], "the body has 20"),
                ([("m", "x" * 9000)], "the body may have at most 2000 bytes (maxBodyBytes)"),
            ):
                answer = broker.send(*messages, topic="events")
                assert answer.refusal == (413, "PAYLOAD_TOO_LARGE")
                assert words in answer.error
            assert broker.stats()["ingressBuffer"]["logEndOffset"] == 1

    def test_a_full_backlog_tells_producers_to_wait(self, tmp_path: Path) -> None:
        with live(config_for(tmp_path, max_backlog_bytes=100), spawn=_no_routing) as broker:
            assert broker.send(("a", "x" * 200), topic="events").status == 200
            answer = broker.send(("b", 1), topic="events")
            assert answer.refusal == (429, "BUFFER_FULL")
            assert "maxBacklogBytes" in answer.error
            assert int(answer.headers["Retry-After"]) >= 1
            assert broker.stats()["ingressBuffer"] == {
                "bufferSize": 1,
                "logEndOffset": 1,
                "readOffset": 0,
            }

    def test_a_full_disk_keeps_nothing_and_room_makes_it_work_again(self, tmp_path: Path) -> None:
        disk = SimulatedDisk()
        with live(config_for(tmp_path), disk=disk) as broker:
            full = disk.fail(
                "write", "*ingress.log", error=OSError(errno.ENOSPC, "full"), times=None
            )
            answer = broker.send(("a", 1), topic="events")
            assert answer.refusal == (507, "STORAGE_FULL")
            assert "make room" in answer.error
            full.lift()
            assert broker.send(("b", 2), topic="events").status == 200
            assert [each["content"] for each in broker.consume("events")["messages"]] == [2]

    def test_a_failed_disk_is_told_and_seen_by_the_health_check(self, tmp_path: Path) -> None:
        disk = SimulatedDisk()
        with live(config_for(tmp_path), disk=disk) as broker:
            assert broker.get("/health").data["status"] == "ok"
            disk.fail("sync", "*ingress.log")
            answer = broker.send(("a", 1), topic="events")
            assert answer.refusal == (503, "STORAGE_FAILED")
            assert "restart" in answer.error
            health = broker.get("/health")
            assert health.refusal == (503, "STORAGE_FAILED")
            assert "the ingress log is closed for writing" in health.error
            assert broker.get("/stats").status == 200

    def test_what_is_not_answered_in_time_has_an_unknown_outcome(self, tmp_path: Path) -> None:
        config = config_for(tmp_path, ask_timeout_ms=50)
        with live(config, spawn=_with(Registry=_Silent)) as broker:
            answer = broker.post("/register/events", {"consumerId": "c"})
            assert answer.refusal == (503, "TIMEOUT")
            assert "the outcome is unknown" in answer.error

    def test_a_defect_is_logged_and_none_of_it_is_in_the_answer(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with live(config_for(tmp_path), spawn=_with(Registry=_Defective)) as broker:
            answer = broker.post("/register/events", {"consumerId": "c"})
            assert answer.refusal == (500, "INTERNAL_ERROR")
            assert b"secret" not in answer.body
            assert broker.get("/consume/broker_1/events/0").status == 200
        assert "RuntimeError: secret" in caplog.text
        caplog.clear()


class TestEveryValue:
    def test_it_comes_back_equal_before_and_after_a_restart(self, tmp_path: Path) -> None:
        with live(config_for(tmp_path)) as broker:
            sent = [(f"id|{n}\n", value) for n, value in enumerate(EVERY_TYPE)]
            sent += [("a|b\nc", {"x|y\nz": "x|y\nz"}), ("a|b\nc", "x|y\nz")]
            for key, value in sent[:5]:
                body = {"message": {"messageId": key, "content": value}}
                assert broker.post("/ingress/events", body).data["messageId"] == key
            assert broker.send(*sent[5:], topic="events").data
            until(lambda: broker.consume("events")["count"] == len(sent))
            before = broker.get("/consume/broker_1/events/0?b=t")
            came = [(each["messageId"], each["content"]) for each in before.data["messages"]]
            assert [repr(each) for each in came] == [repr(each) for each in sent]
            broker.commit("events", 3)
            rest = broker.get("/consume/broker_1/events/0?b=t")
            broker.restart()
            assert broker.get("/consume/broker_1/events/0?b=t").body == rest.body
            assert broker.commit("events", 3).data["newReadOffset"] == 3
            assert broker.commit("events", 4, "other").error_code == "NOT_ASSIGNED"

    @pytest.mark.parametrize(
        "text",
        [
            *(b"1.0", b"1E5", b"-0", b"-0.0", b"1e999", b"9007199254740993", b"0.1000"),
            *(b'"\\u00e9\\/\\ud83d\\ude00"', b'{ "a" : 1, "a":2 ,\t"b":[ ] }', b'"\x7f\xc2\x85"'),
            b"[" * 400 + b"]" * 400,
        ],
        ids=lambda text: repr(text[:12]),
    )
    def test_its_text_is_kept_byte_for_byte(
        self, broker: LiveBroker, text: bytes, unused: Iterator[int]
    ) -> None:
        offset = broker.consume("events", "")["startOffset"]
        body = b'{"message":{"messageId":"m","content":%b}}' % text
        assert broker.call("POST", "/ingress/events", body).data
        assert broker.consume("events", "?wait=5000")["count"] == 1
        answer = broker.get("/consume/broker_1/events/0").body
        assert b'"content":%b,"offset":%d,' % (text, offset + 1) in answer
        broker.commit("events", offset + 1)

    @settings(
        max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(st.data())
    def test_any_value_and_any_message_id_come_back_equal(
        self, broker: LiveBroker, data: st.DataObject
    ) -> None:
        values = st.recursive(
            st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner),
            max_leaves=8,
        )
        keys = st.text(min_size=1, max_size=60)
        infinite = re.compile("-?Infinity")
        sent = data.draw(st.lists(st.tuples(keys, values), min_size=1, max_size=5))
        start = broker.consume("events", "")["startOffset"]
        batch = json.dumps([{"messageId": key, "content": value} for key, value in sent])
        finite = infinite.sub("1e999", batch)
        answer = broker.call("POST", "/ingress/events", b'{"messages":%b}' % finite.encode())
        assert answer.data["count"] == len(sent)
        end = start + len(sent)
        until(lambda: broker.consume("events")["endOffset"] == end)
        came = [
            {"messageId": each["messageId"], "content": each["content"]}
            for each in broker.consume("events")["messages"]
        ]
        assert came == json.loads(finite)
        broker.commit("events", end)


# -- actors that do not do what they should


class _Silent(InlineRef):
    """An actor that never answers."""

    def ask(self, message: Any, *, block: Any = False) -> Reply[Any]:
        return Reply()


class _Defective(InlineRef):
    """An actor that fails in a way that nobody foresaw."""

    def ask(self, message: Any, *, block: Any = False) -> Reply[Any]:
        raise RuntimeError("secret")


def _with(**refs: type[InlineRef]) -> Any:
    """Return what spawns actors in threads, save for those named."""

    def spawn(actor_class: type[pykka.ThreadingActor], *args: Any) -> Ref:
        ref = refs.get(actor_class.__name__)
        return ref(actor_class(*args)) if ref else spawn_thread(actor_class, *args)

    return spawn


_no_routing: Final = _with(Scheduler=UntoldRef)


def test_the_sentence_check_of_these_tests_can_fail(broker: LiveBroker) -> None:
    answer = broker.get("/nothing")
    short = Answer(answer.status, answer.headers, b'{"success":false,"errorCode":"X","error":"no"}')
    with pytest.raises(AssertionError):
        assert short.error
