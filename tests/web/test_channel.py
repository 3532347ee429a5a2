"""A connection: what is asked on it is answered in order, whoever of the threads does it."""

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pandaq.web.app import QUICK_BYTES
from tests.web.live_broker import DEADLINE_S, LiveBroker, config_for, live, until
from tests.web.test_server import SlowDisk

HEALTH = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"


def produce(message_id: str, content: Any = 1, version: str = "1.1", headers: str = "") -> bytes:
    """Return a request that appends one message to `events`."""
    body = json.dumps({"message": {"messageId": message_id, "content": content}})
    head = f"POST /ingress/events HTTP/{version}\r\nHost: a\r\nContent-Length: {len(body)}\r\n"
    return f"{head}{headers}\r\n{body}".encode()


def wait_ms(milliseconds: int) -> bytes:
    path = f"/consume/broker_1/events/0?b=t&wait={milliseconds}"
    return f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()


class Reader:
    """Reads the answers of a connection, one behind the other."""

    def __init__(self, connection: socket.socket) -> None:
        self._file = connection.makefile("rb")

    def next(self) -> tuple[int, dict[str, str], Any]:
        """Return the next answer's status, headers and JSON."""
        status = int(self._file.readline().split()[1])
        headers = {}
        while (line := self._file.readline()) != b"\r\n":
            name, _, value = line.decode().partition(": ")
            headers[name.lower()] = value.strip()
        return status, headers, json.loads(self._file.read(int(headers["content-length"])))

    def is_at_end(self) -> bool:
        return self._file.read(1) == b""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[LiveBroker]:
    with live(config_for(tmp_path)) as broker:
        yield broker


@pytest.fixture
def slow_disk() -> SlowDisk:
    return SlowDisk()


@pytest.fixture
def slow_broker(tmp_path: Path, slow_disk: SlowDisk) -> Iterator[LiveBroker]:
    with live(config_for(tmp_path, threads=1), disk=slow_disk) as broker:
        yield broker
        slow_disk.goes_on.set()


class TestOrder:
    def test_requests_behind_each_other_are_answered_in_order(self, broker: LiveBroker) -> None:
        with broker.connected() as connection:
            ids = [f"m{number}" for number in range(50)]
            connection.sendall(b"".join(produce(id_) + HEALTH for id_ in ids))
            reader = Reader(connection)
            for id_ in ids:
                status, _, answer = reader.next()
                assert (status, answer["data"]["messageId"]) == (200, id_)
                assert reader.next()[2]["data"]["status"] == "ok"

    def test_one_behind_a_waiting_one_waits_for_its_answer(self, broker: LiveBroker) -> None:
        with broker.connected() as connection:
            connection.sendall(wait_ms(30_000) + produce("behind"))
            reader = Reader(connection)
            broker.send(("first", 1), topic="events")
            assert [each["messageId"] for each in reader.next()[2]["data"]["messages"]] == ["first"]
            assert reader.next()[2]["data"]["messageId"] == "behind"

    def test_right_and_wrong_ones_are_answered_in_order(self, broker: LiveBroker) -> None:
        wrong = b"POST /ingress/events HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n{"
        with broker.connected() as connection:
            connection.sendall((produce("a") + wrong) * 10)
            reader = Reader(connection)
            assert [reader.next()[0] for _ in range(20)] == [200, 400] * 10


class TestThreads:
    def test_appends_wait_for_the_disk_without_a_thread(
        self, slow_broker: LiveBroker, slow_disk: SlowDisk
    ) -> None:
        slow_disk.goes_on.clear()
        with slow_broker.connected() as first, slow_broker.connected() as second:
            first.sendall(produce("a"))
            assert slow_disk.syncing.wait(DEADLINE_S)
            second.sendall(produce("b"))
            # The only worker is free for whoever asks for something else.
            assert slow_broker.get("/consume/broker_1/events/0?b=t").status == 200
            slow_disk.goes_on.set()
            for connection, id_ in ((first, "a"), (second, "b")):
                assert Reader(connection).next()[2]["data"]["messageId"] == id_

    @pytest.mark.parametrize("size", [QUICK_BYTES - 200, QUICK_BYTES, 4 * QUICK_BYTES])
    @pytest.mark.parametrize("chunked", [False, True])
    def test_a_body_of_any_size_is_taken(
        self, broker: LiveBroker, size: int, *, chunked: bool
    ) -> None:
        request = produce("a", "x" * size)
        if chunked:
            head, _, body = request.partition(b"\r\n\r\n")
            lines = [line for line in head.split(b"\r\n") if not line.startswith(b"Content-Le")]
            head = b"\r\n".join([*lines, b"Transfer-Encoding: chunked"])
            request = b"%b\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (head, len(body), body)
        answer = broker.say(request)
        assert answer.data["messageId"] == "a"
        (message,) = broker.consume("events")["messages"]
        assert message["content"] == "x" * size

    def test_a_client_that_goes_away_before_its_answer_harms_nobody(
        self, slow_broker: LiveBroker, slow_disk: SlowDisk
    ) -> None:
        slow_disk.goes_on.clear()
        with slow_broker.connected() as connection:
            connection.sendall(produce("gone"))
            assert slow_disk.syncing.wait(DEADLINE_S)
        slow_disk.goes_on.set()
        assert slow_broker.send(("next", 1), topic="events").status == 200
        messages = until(lambda: (found := slow_broker.consume("events")["messages"])[1:] and found)
        assert [each["messageId"] for each in messages] == ["gone", "next"]

    def test_many_connections_at_once_are_all_answered(self, broker: LiveBroker) -> None:
        statuses: list[int] = []

        def ask(name: int) -> None:
            with broker.connected() as connection:
                reader = Reader(connection)
                for number in range(20):
                    connection.sendall(produce(f"{name}-{number}"))
                    statuses.append(reader.next()[0])

        threads = [threading.Thread(target=ask, args=(name,)) for name in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE_S)
        assert statuses == [200] * 320


class TestForms:
    def test_a_head_has_no_body(self, broker: LiveBroker) -> None:
        with broker.connected() as connection:
            connection.sendall(HEALTH.replace(b"GET", b"HEAD") + HEALTH)
            file = connection.makefile("rb")
            head = b"".join(iter(file.readline, b"\r\n"))
            assert head.startswith(b"HTTP/1.1 200 OK\r\n")
            assert b"\r\nContent-Length: " in head
            assert file.readline().startswith(b"HTTP/1.1 200")  # The next answer follows at once.

    @pytest.mark.parametrize("headers", ["", "Connection: close\r\n"])
    @pytest.mark.parametrize("version", ["1.0", "1.1"])
    def test_a_connection_stays_open_as_its_client_wants(
        self, broker: LiveBroker, version: str, headers: str
    ) -> None:
        with broker.connected() as connection:
            connection.sendall(produce("a", version=version, headers=headers))
            reader = Reader(connection)
            assert reader.next()[0] == 200
            if version == "1.1" and not headers:
                connection.sendall(produce("b"))
                assert reader.next()[2]["data"]["messageId"] == "b"
            else:
                assert reader.is_at_end()

    def test_who_asks_first_whether_to_send_is_told_to(self, broker: LiveBroker) -> None:
        head, _, body = produce("a", headers="Expect: 100-continue\r\n").partition(b"\r\n\r\n")
        with broker.connected() as connection:
            connection.sendall(head + b"\r\n\r\n")
            assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.sendall(body)
            assert Reader(connection).next()[2]["data"]["messageId"] == "a"

    def test_a_request_may_come_byte_by_byte(self, broker: LiveBroker) -> None:
        with broker.connected() as connection:
            for byte in produce("a"):
                connection.sendall(bytes([byte]))
            assert Reader(connection).next()[2]["data"]["messageId"] == "a"
