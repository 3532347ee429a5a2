r"""Whatever comes in: the contract's JSON goes out, nothing is half written, and it serves on."""

import json
import socket
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.web.live_broker import Answer, LiveBroker, answer_on, config_for, live, until

MAX_MESSAGE: Final = 8 * 1024
MAX_BODY: Final = 32 * 1024
MAX_BATCH: Final = 20

FUZZ: Final = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
JSON_VALUES: Final = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=[]), max_size=20)
    | st.sampled_from(["orders", "events", "broker_1", "0", "..", "a|b", "\n", 10**30, -1, 1e400]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["messageId", "content", "topicId"]), inner)
    ),
    max_leaves=6,
)
VALID: Final[dict[str, dict[str, Any]]] = {
    "/ingress/orders": {
        "brokerId": "broker_1",
        "message": {"messageId": "m", "content": {"a": [1, "x"]}, "topicId": "orders"},
    },
    "/ingress/events": {
        "messages": [{"messageId": 1, "content": None}, {"messageId": "b", "content": "x|y"}],
    },
    "/register/orders": {"brokerId": "broker_1", "consumerId": "c"},
    "/commit": {"topicId": "orders", "partitionId": 0, "consumerId": "c", "offset": 0},
}


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveBroker]:
    config = config_for(
        tmp_path_factory.mktemp("bad_input"),
        max_message_bytes=MAX_MESSAGE,
        max_body_bytes=MAX_BODY,
        max_batch_messages=MAX_BATCH,
    )
    with live(config) as broker:
        yield broker


@pytest.fixture
def unchanged(broker: LiveBroker) -> Iterator[None]:
    """Nothing is written, and the broker serves on."""

    def routed() -> Any:
        stats = broker.stats()
        ingress = stats["ingressBuffer"]
        return stats if ingress["logEndOffset"] == ingress["readOffset"] else None

    before = until(routed)
    yield
    assert broker.stats() == before
    assert broker.get("/health").status == 200


def post(broker: LiveBroker, path: str, body: bytes) -> Answer:
    return broker.call("POST", path, body)


def produce(broker: LiveBroker, content: bytes, message_id: bytes = b'"m"') -> Answer:
    body = b'{"message":{"messageId":%b,"content":%b}}' % (message_id, content)
    return post(broker, "/ingress/events", body)


@pytest.mark.usefixtures("unchanged")
class TestBodies:
    @pytest.mark.parametrize("path", VALID)
    @pytest.mark.parametrize(
        "body",
        [
            *(b"", b" ", b"null", b"[]", b'"text"', b"1", b"true", b"{}", b"{", b"}", b'{"a"'),
            *(
                b'{"a":1}{"a":1}',
                b"{'a':1}",
                b"\xef\xbb\xbf{}",
                b"\x00",
                b"{}\x00",
                b"\xff\xfe{\x00",
            ),
            *(b'{"a":"\xff"}', b'{"a":"\xed\xa0\x80"}', b'{"\\ud800":1}', b'{"a":"\\udfff"}'),
            *(b'{"brokerId":1}', b'{"brokerId":["broker_1"]}', b"[" * 30_000, b'{"a":' * 5_000),
            *(b"a=1&b=2", b"<xml/>", b"%7B%7D", b"\r\n\r\n", b"NaN", b"Infinity", b"-"),
        ],
        ids=lambda body: repr(body[:16]),
    )
    def test_what_is_no_right_object_is_refused(
        self, broker: LiveBroker, path: str, body: bytes
    ) -> None:
        answer = post(broker, path, body)
        assert answer.refusal == (400, "INVALID_REQUEST")
        assert "Error" not in answer.error

    @pytest.mark.parametrize("wrong", [None, True, 1.5, -1.0, [], {}, [1], {"a": 1}])
    @pytest.mark.parametrize("field", ["topicId", "partitionId", "consumerId", "offset"])
    def test_a_field_of_another_type_is_told_by_its_name(
        self, broker: LiveBroker, field: str, wrong: Any
    ) -> None:
        answer = broker.post("/commit", VALID["/commit"] | {field: wrong})
        assert answer.refusal == (400, "INVALID_REQUEST")
        assert field in answer.error

    @pytest.mark.parametrize("field", ["topicId", "partitionId", "consumerId", "offset"])
    @pytest.mark.parametrize("number", ["1e999", "-1e999", "1e2", "1" * 5000, "1.0", "0.5", "01"])
    def test_a_number_that_is_no_integer_is_refused(
        self, broker: LiveBroker, field: str, number: str
    ) -> None:
        body = json.dumps(VALID["/commit"] | {field: "NUMBER"}).replace('"NUMBER"', number)
        answer = post(broker, "/commit", body.encode())
        assert answer.refusal == (400, "INVALID_REQUEST")

    @pytest.mark.parametrize("number", [10**18, 2**63, 2**64, 10**30, 10**4000, -(10**30), -1])
    def test_an_integer_out_of_range_is_refused(self, broker: LiveBroker, number: int) -> None:
        offset = broker.post("/commit", VALID["/commit"] | {"offset": number})
        assert offset.refusal == (400, "INVALID_OFFSET")
        partition = broker.post("/commit", VALID["/commit"] | {"partitionId": number})
        assert partition.refusal == (404, "PARTITION_NOT_FOUND")
        assert broker.send((number, 1), topic="none").refusal == (404, "TOPIC_NOT_FOUND")

    @pytest.mark.parametrize("number", ["1" * 5000, "-" + "1" * 5000, "1" * 600, "1.5", "1e999"])
    def test_a_message_id_that_is_too_long_or_no_integer_is_refused(
        self, broker: LiveBroker, number: str
    ) -> None:
        answer = produce(broker, b"1", number.encode())
        assert answer.refusal == (400, "INVALID_REQUEST")
        assert "messageId" in answer.error

    @pytest.mark.parametrize(
        "content",
        [
            *(b'"\\ud800"', b'["\\udc00"]', b'{"\\ud800":1}', b'{"a":{"\\ud800":1}}', b'"\xff"'),
            *(b'"\xed\xa0\x80"', b'"\x00"', b'"\n"', b"NaN", b"-Infinity", b"1" * 5000, b"[1,]"),
            *(b"[" * 501 + b"]" * 501, b'{"a":' * 501 + b"1" + b"}" * 501, b"1}"),
        ],
        ids=lambda content: repr(content[:16]),
    )
    def test_content_that_no_reader_would_take_is_refused(
        self, broker: LiveBroker, content: bytes
    ) -> None:
        assert produce(broker, content).refusal == (400, "INVALID_REQUEST")

    @pytest.mark.parametrize(
        "message_id",
        [b'""', b'"\\ud800"', b'"\xff"', b'"' + b"x" * 513 + b'"', b'"' + b"\xc3\xa9" * 257 + b'"'],
        ids=lambda text: repr(text[:12]),
    )
    def test_a_wrong_message_id_is_refused(self, broker: LiveBroker, message_id: bytes) -> None:
        assert produce(broker, b"1", message_id).refusal == (400, "INVALID_REQUEST")

    @pytest.mark.parametrize(
        "consumer", ["", "a|b", "a\nb", "\x00", "\x7f", "\x85", "é" * 101, "x" * 201]
    )
    def test_a_wrong_consumer_id_is_refused(self, broker: LiveBroker, consumer: str) -> None:
        for answer in (
            broker.post("/register/events", {"consumerId": consumer}),
            broker.commit("events", 0, consumer),
        ):
            assert answer.refusal == (400, "INVALID_REQUEST")
            assert "consumerId" in answer.error

    def test_deep_nesting_is_refused_wherever_it_is(self, broker: LiveBroker) -> None:
        deep = b"[" * 15_000 + b"]" * 15_000
        for body in (
            b'{"consumerId":%b}',
            b'{"consumerId":"c","unknown":%b}',
            b'{"consumerId":"c","brokerId":{"a":%b}}',
        ):
            answer = post(broker, "/register/events", body % deep)
            assert answer.refusal == (400, "INVALID_REQUEST")

    @pytest.mark.parametrize(
        "content_type",
        [
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/jsonx",
            "\xff",
            "a" * 5000,
        ],
    )
    @pytest.mark.parametrize("path", VALID)
    def test_another_content_type_is_refused(
        self, broker: LiveBroker, path: str, content_type: str
    ) -> None:
        body = json.dumps(VALID[path]).encode()
        answer = broker.call("POST", path, body, {"Content-Type": content_type})
        assert answer.refusal == (415, "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.usefixtures("unchanged")
class TestSizes:
    def test_a_message_a_batch_and_a_body_just_over_their_limits_are_refused(
        self, broker: LiveBroker
    ) -> None:
        over = b'"' + b"x" * (MAX_MESSAGE - 1) + b'"'
        batch = [(n, 1) for n in range(MAX_BATCH + 1)]
        filled = json.dumps(VALID["/ingress/orders"]).encode().ljust(MAX_BODY + 1)
        for answer, setting in (
            (produce(broker, over), "maxMessageBytes"),
            (broker.send(("a", 1), ("b", over.decode()), topic="events"), "maxMessageBytes"),
            (broker.send(*batch, topic="events"), "maxBatchMessages"),
            (post(broker, "/ingress/orders", filled), "maxBodyBytes"),
            (post(broker, "/commit", filled), "maxBodyBytes"),
        ):
            assert answer.refusal == (413, "PAYLOAD_TOO_LARGE")
            assert setting in answer.error

    def test_a_body_far_over_the_limit_is_refused_before_it_is_sent(
        self, broker: LiveBroker
    ) -> None:
        for length in (5 * MAX_BODY, 10**18, 10**4000):
            head = b"POST /ingress/orders HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % length
            answer = broker.say(head)
            assert answer.refusal == (413, "PAYLOAD_TOO_LARGE")
            assert f"{MAX_BODY} bytes (maxBodyBytes)" in answer.error

    def test_a_client_that_sends_five_times_the_limit_hears_why(self, broker: LiveBroker) -> None:
        answer = post(broker, "/ingress/orders", b" " * (5 * MAX_BODY))
        assert answer.refusal == (413, "PAYLOAD_TOO_LARGE")

    @pytest.mark.parametrize("size", [MAX_BODY + 1, 5 * MAX_BODY])
    def test_an_oversize_body_in_chunks_is_refused(self, broker: LiveBroker, size: int) -> None:
        chunks = [b"%x\r\n%b\r\n" % (1024, b" " * 1024)] * (size // 1024 + 1)
        answer = broker.say(
            b"POST /ingress/orders HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"".join(chunks) + b"0\r\n\r\n",
        )
        assert answer.refusal == (413, "PAYLOAD_TOO_LARGE")


class TestWhatIsStrangeButRight:
    def test_a_body_in_chunks_is_read(self, broker: LiveBroker) -> None:
        answer = broker.say(
            b"POST /register/events HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            b'5;a=b\r\n{"con\r\n',
            b'10\r\nsumerId":"strang\r\n2\r\ne"\r\n1\r\n}\r\n0\r\nA: b\r\n\r\n',
        )
        assert answer.data["consumerId"] == "strange"

    def test_a_client_that_asks_before_it_sends_is_told_to_go_on(self, broker: LiveBroker) -> None:
        body = b'{"consumerId":"strange"}'
        with broker.connected() as connection:
            head = b"POST /register/events HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: %d"
            connection.sendall(head % len(body) + b"\r\n\r\n")
            assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.sendall(body)
            assert answer_on(connection).status == 200

    @pytest.mark.parametrize(
        "request_line",
        [
            *("GET /stats HTTP/1.0", "GET /stats", "GET //stats HTTP/1.1", "GET /%73tats HTTP/1.1"),
            *("GET http://other:1/stats HTTP/1.1", "GET /stats?a=1&a=%00#x HTTP/1.1"),
        ],
    )
    def test_a_request_line_may_be_written_in_many_ways(
        self, broker: LiveBroker, request_line: str
    ) -> None:
        answer = broker.say(request_line.encode() + b"\r\n\r\n")
        assert answer.data["brokerId"] == "broker_1"

    def test_requests_may_come_before_the_answers(self, broker: LiveBroker) -> None:
        with broker.connected() as connection:
            connection.sendall(b"GET /health HTTP/1.1\r\n\r\n" * 3)
            connection.sendall(b"GET /nothing HTTP/1.1\r\nConnection: close\r\n\r\n")
            came = b"".join(iter(lambda: connection.recv(65536), b""))
        assert came.count(b"HTTP/1.1 200 OK") == 3
        assert came.count(b"HTTP/1.1 404 Not Found") == 1

    def test_what_is_just_within_the_limits_is_taken(self, broker: LiveBroker) -> None:
        assert produce(broker, b'"' + b"x" * (MAX_MESSAGE - 2) + b'"').status == 200
        assert produce(broker, b"1", b'"' + b"\xc3\xa9" * 256 + b'"').status == 200
        assert broker.send(*((n, n) for n in range(MAX_BATCH)), topic="events").status == 200
        body = json.dumps(VALID["/ingress/orders"]).encode().ljust(MAX_BODY)
        assert post(broker, "/ingress/orders", body).status == 200

    def test_deep_nesting_below_the_limit_comes_back(self, broker: LiveBroker) -> None:
        deep = b'[{"a":' * 200 + b"1" + b"}]" * 200
        assert produce(broker, deep, b'"deep"').data
        end = broker.stats()["ingressBuffer"]["logEndOffset"]
        until(lambda: broker.stats()["ingressBuffer"]["readOffset"] >= end)
        answer = broker.get("/consume/broker_1/events/0?b=t")
        assert b'"messageId":"deep","content":%b,' % deep in answer.body
        assert answer.data["messages"][-1]["content"] == json.loads(deep)


@pytest.mark.usefixtures("unchanged")
class TestPaths:
    @pytest.mark.parametrize(
        "topic",
        [
            *(
                "..",
                ".",
                "...",
                "a.",
                "con",
                "NUL.txt",
                "a|b",
                "a b",
                "é",
                "x" * 201,
                "a\nb",
                "\x00",
            ),
            *("a\\b", "C:", "~", "$HOME", "*", "\u202e", "orders\x00", "orders\n", "orders."),
        ],
    )
    def test_a_topic_that_no_folder_may_be_called_is_refused(
        self, broker: LiveBroker, topic: str
    ) -> None:
        name = quote(topic, safe="").replace(".", "%2e")
        for answer in (
            post(broker, f"/ingress/{name}", b'{"message":{"messageId":"a","content":1}}'),
            post(broker, f"/register/{name}", b'{"consumerId":"c"}'),
            broker.get(f"/consume/broker_1/{name}/0"),
            broker.post("/commit", VALID["/commit"] | {"topicId": topic}),
        ):
            assert answer.refusal == (400, "INVALID_REQUEST")
            assert answer.error.startswith("topicId is ")
            assert len(answer.error) < 400

    @pytest.mark.parametrize(
        "path",
        [
            *("/ingress/../commit", "/ingress/..%2F..%2Fetc%2Fpasswd", "/ingress/%2e%2e%2fx"),
            *("/ingress/", "/ingress", "/ingress/orders/", "/ingress/a/b", "/register/orders/x"),
            *("/../../etc/passwd", "/commit/", "/COMMIT", "/stats/x", "/static/../stats", "/%00"),
            *("/consume/broker_1/orders", "/consume/broker_1/orders/0/", "/consume//orders/0"),
            *("/" + "x" * 5000, "/%"),
        ],
    )
    def test_a_path_that_leads_nowhere_is_not_found(self, broker: LiveBroker, path: str) -> None:
        for method in ("GET", "POST"):
            answer = broker.call(method, path, b"{}" if method == "POST" else None)
            assert answer.refusal == (404, "NOT_FOUND")
            assert len(answer.error) < 400

    @pytest.mark.parametrize(
        "wrong", ["o%FF", "%FF", "o%ED%A0%80", "%C3o", "o%C0%AE%C0%AE", "orders%80"]
    )
    def test_a_path_that_is_not_utf_8_is_refused(self, broker: LiveBroker, wrong: str) -> None:
        for answer in (
            post(broker, f"/ingress/{wrong}", b"{}"),
            broker.get(f"/consume/broker_1/{wrong}/0"),
            broker.get(f"/consume/{wrong}/orders/0"),
            broker.get(f"/consume/broker_1/orders/0{wrong}"),
            broker.get("/stats%FF"),
        ):
            assert answer.refusal == (400, "INVALID_REQUEST")
            assert "not valid UTF-8" in answer.error

    @pytest.mark.parametrize(
        "name", ["other", "Broker_1", "broker_1%20", "%0A", "%2e%2e", "b" * 300]
    )
    def test_another_broker_is_told_by_its_name(self, broker: LiveBroker, name: str) -> None:
        answer = broker.get(f"/consume/{name}/orders/0")
        assert answer.refusal == (404, "BROKER_NOT_FOUND")
        assert "'broker_1'" in answer.error
        assert len(answer.error) < 400

    @pytest.mark.parametrize("number", ["3", "-1", "999999999"])
    def test_a_partition_that_is_not_there_is_not_found(
        self, broker: LiveBroker, number: str
    ) -> None:
        answer = broker.get(f"/consume/broker_1/orders/{number}")
        assert answer.refusal == (404, "PARTITION_NOT_FOUND")
        assert "0 to 2" in answer.error

    @pytest.mark.parametrize("number", ["x", "1.0", "1e0", "9" * 10, "+0", "%C2%B2", "0%00", "0|1"])
    def test_a_partition_that_is_no_number_is_refused(
        self, broker: LiveBroker, number: str
    ) -> None:
        answer = broker.get(f"/consume/broker_1/orders/{number}")
        assert answer.refusal == (400, "INVALID_REQUEST")
        assert answer.error.startswith("partitionId is ")

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            *(("b=1", "b"), ("b=yes", "b"), ("b=%00", "b"), ("max=0", "max"), ("max=-1", "max")),
            *(("max=1.5", "max"), ("max=1e999", "max"), ("max=" + "9" * 5000, "max")),
            *(
                ("max=%C2%B2", "max"),
                ("wait=-1", "wait"),
                ("wait=soon", "wait"),
                ("b=%FF", "query"),
            ),
            *(("%FF", "query"), ("%ED%A0%80=1", "query"), ("a=1&" * 200, "query")),
        ],
    )
    def test_a_wrong_query_is_told_by_its_field(
        self, broker: LiveBroker, query: str, field: str
    ) -> None:
        answer = broker.get(f"/consume/broker_1/orders/0?{query}")
        assert answer.refusal == (400, "INVALID_REQUEST")
        assert field in answer.error
        assert len(answer.error) < 200

    @pytest.mark.parametrize(
        "target", [b"/stats\xff", b"/consume/broker_1/\xc3/0", b"/consume/broker_1/orders/0?b=\xff"]
    )
    def test_raw_bytes_that_are_not_utf_8_are_refused(
        self, broker: LiveBroker, target: bytes
    ) -> None:
        answer = broker.say(b"GET %b HTTP/1.1\r\n\r\n" % target)
        assert answer.refusal == (400, "INVALID_REQUEST")


@pytest.mark.usefixtures("unchanged")
class TestRawRequests:
    @pytest.mark.parametrize(
        "request_bytes",
        [
            *(b"garbage\r\n\r\n", b"\x00\x01\x02\r\n\r\n", b"GET\r\n\r\n", b"GET  /stats\r\n\r\n"),
            *(b"get /stats HTTP/1.1\r\n\r\n", b"GET /stats HTTP/1.1 x\r\n\r\n"),
            *(b"GET /stats FTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n"),
            b"GET /stats HTTP/1.1\r\nno colon\r\n\r\n",
            b"GET /stats HTTP/1.1\r\n: x\r\n\r\n",
            b"GET /stats HTTP/1.1\r\nA: b\rc\r\n\r\n",
            b"GET /stats HTTP/1.1\r\nA: \x00\r\n\r\n",
            b"GET /stats HTTP/1.1\r\n folded\r\n\r\n",
            b"GET http://[ HTTP/1.1\r\n\r\n",
            b"GET http://[x]/stats HTTP/1.1\r\n\r\n",
            b"POST /commit HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            b"POST /commit HTTP/1.1\r\nContent-Length: 1e3\r\n\r\n",
            b"POST /commit HTTP/1.1\r\nContent-Length:\r\n\r\n",
            b"POST /commit HTTP/1.1\r\nContent-Length: 2, 3\r\n\r\n{}",
            b"POST /commit HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
            b"POST /commit HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
            b"POST /commit HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
            b"POST /commit HTTP/1.1\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
            b"POST /commit HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n\r\n",
            b"POST /commit HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
            b"POST /commit HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}}\r\n0\r\n\r\n",
            b"GET /stats HTTP/1.1\r\n" + b"A: b\r\n" * 60_000 + b"\r\n",
            b"GET /" + b"x" * 300_000 + b" HTTP/1.1\r\n\r\n",
        ],
        ids=lambda request: repr(request[:60]),
    )
    def test_a_broken_request_is_refused(self, broker: LiveBroker, request_bytes: bytes) -> None:
        answer = broker.say(request_bytes)
        assert answer.refusal == (400, "INVALID_REQUEST")
        assert "cannot be read" in answer.error

    def test_a_body_shorter_than_it_says_is_never_done(self, broker: LiveBroker) -> None:
        body = b'{"message":{"messageId":"a","content":1}}'
        with broker.connected() as connection:
            head = b"POST /ingress/orders HTTP/1.1\r\nContent-Length: %d\r\n\r\n"
            connection.sendall(head % (len(body) + 1) + body)
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(100) == b""

    def test_a_body_longer_than_it_says_is_cut_and_the_rest_is_no_request(
        self, broker: LiveBroker
    ) -> None:
        with broker.connected() as connection:
            body = b'{"message":{"messageId":"a","content":1}}'
            head = b"POST /ingress/orders HTTP/1.1\r\nContent-Length: 10\r\n\r\n"
            connection.sendall(head + body + b"\r\n\r\n")
            came = b"".join(iter(lambda: connection.recv(65536), b""))
        assert came.count(b"HTTP/1.1 400 Bad Request") + came.count(b"HTTP/1.0 400") == 2
        assert came.count(b"INVALID_REQUEST") == 2

    def test_half_a_request_is_never_done(self, broker: LiveBroker) -> None:
        for part in (b"POST", b"POST /commit HTTP/1.1\r\nA: b", b"\r\n\r\n", b""):
            with broker.connected() as connection:
                connection.sendall(part)
                connection.shutdown(socket.SHUT_WR)
                assert connection.recv(100) == b""


class TestFuzz:
    """Hypothesis tries; whatever it got a success for is readable in the end."""

    def check(self, answer: Answer) -> None:
        if answer.status == 200:
            assert isinstance(answer.data, dict)
        else:
            assert 400 <= answer.status < 500
            assert answer.error

    @FUZZ
    @given(path=st.sampled_from(list(VALID)), body=st.binary(max_size=300))
    def test_any_bytes(self, broker: LiveBroker, path: str, body: bytes) -> None:
        self.check(post(broker, path, body))

    @FUZZ
    @given(path=st.sampled_from(list(VALID)), data=st.data())
    def test_a_valid_body_with_some_bytes_changed(
        self, broker: LiveBroker, path: str, data: st.DataObject
    ) -> None:
        body = bytearray(json.dumps(VALID[path]).encode())
        for _ in range(data.draw(st.integers(1, 4))):
            start = data.draw(st.integers(0, len(body)))
            stop = min(start + data.draw(st.integers(0, 3)), len(body))
            body[start:stop] = data.draw(
                st.binary(max_size=3) | st.sampled_from([b'"', b"\\", b"\\u", b"{", b"[", b"e9999"])
            )
        self.check(post(broker, path, bytes(body)))

    @FUZZ
    @given(path=st.sampled_from(list(VALID)), data=st.data())
    def test_any_json_in_any_field(
        self, broker: LiveBroker, path: str, data: st.DataObject
    ) -> None:
        body = json.loads(json.dumps(VALID[path]))
        places: list[dict[str, Any]] = [body, *body.get("messages", [])]
        places += [body["message"]] if "message" in body else []
        place = data.draw(st.sampled_from(places))
        place[data.draw(st.sampled_from(sorted(place)))] = data.draw(JSON_VALUES)
        text = json.dumps(body, ensure_ascii=data.draw(st.booleans()))
        self.check(post(broker, path, text.encode("utf-8", "surrogatepass")))

    @FUZZ
    @given(
        method=st.sampled_from(["GET", "POST", "HEAD", "PUT", "X"]),
        parts=st.lists(
            st.sampled_from(
                ["consume", "ingress", "commit", "stats", "broker_1", "orders", "0", ""]
            )
            | st.binary(max_size=8),
            max_size=6,
        ),
        query=st.none()
        | st.binary(max_size=20)
        | st.lists(
            st.tuples(st.sampled_from(["b", "max", "x"]), st.sampled_from(["t", "1", "", "\xff"]))
        ),
    )
    def test_any_path_and_query(
        self,
        broker: LiveBroker,
        method: str,
        parts: list[str | bytes],
        query: bytes | list[tuple[str, str]] | None,
    ) -> None:
        path = "/" + "/".join(quote(part, safe="") for part in parts)
        if isinstance(query, bytes):
            path += "?" + quote(query, safe="&=%")
        elif query is not None:
            path += "?" + "&".join(f"{name}={quote(value)}" for name, value in query)
        answer = broker.call(method, path, b"{}" if method == "POST" else None)
        if method == "HEAD":
            assert answer.status < 500
        else:
            self.check(answer)

    @FUZZ
    @given(
        st.binary(max_size=60)
        | st.text("GETPOS /?#%:.[]@HTP109\t\x00\xff", max_size=60).map(
            lambda text: text.encode("latin-1")
        ),
        st.lists(st.binary(max_size=20), max_size=3),
    )
    def test_any_request_line_and_headers(
        self, broker: LiveBroker, line: bytes, headers: list[bytes]
    ) -> None:
        request = b"\r\n".join([b"GET " + line, *headers]) + b"\r\n\r\n"
        self.check(broker.say(request))

    def test_in_the_end_all_can_be_read_and_outlives_a_restart(self, broker: LiveBroker) -> None:
        def everything() -> list[bytes]:
            return [
                broker.get(f"/consume/broker_1/{topic}/{partition}?b=t&max=10000").body
                for topic, partition in (("orders", 0), ("orders", 1), ("orders", 2), ("events", 0))
            ]

        assert broker.send(("last", {"a": "|"}), topic="orders").data
        end = broker.stats()["ingressBuffer"]["logEndOffset"]
        until(lambda: broker.stats()["ingressBuffer"]["readOffset"] == end)
        before = everything()
        parts = [part for each in broker.stats()["topics"] for part in each["partitions"]]
        assert sum(part["logEndOffset"] for part in parts) == end
        counts = [len(json.loads(body)["data"]["messages"]) for body in before]
        assert counts == [part["pendingMessages"] for part in parts]
        broker.restart()
        assert everything() == before
