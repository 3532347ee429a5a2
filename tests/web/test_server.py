import http.client
import json
import select
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pykka
import pytest

from pandaq.actors.asking import Ref
from pandaq.actors.crew import spawn_thread
from pandaq.actors.partition import Partition
from pandaq.actors.system import System
from pandaq.errors import StartError
from pandaq.web.server import Server
from tests.simulated_disk import SimulatedDisk, SimulatedFile
from tests.web.live_broker import (
    DEADLINE_S,
    LiveBroker,
    answer_on,
    config_for,
    live,
    until,
)

WAIT: bytes = b"GET /consume/broker_1/events/0?b=t&wait=30000 HTTP/1.1\r\nHost: a\r\n\r\n"
HEALTH: bytes = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"


class SlowDisk(SimulatedDisk):
    """A disk whose syncs of the ingress log wait until a test lets them go on."""

    def __init__(self) -> None:
        super().__init__()
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.syncing = threading.Event()

    def open(self, path: Path, *, create: bool = False, read_only: bool = False) -> SimulatedFile:
        file = super().open(path, create=create, read_only=read_only)
        if path.name == "ingress.log":
            sync = file.sync

            def wait_and_sync() -> None:
                if not self.goes_on.is_set():
                    self.syncing.set()
                    assert self.goes_on.wait(DEADLINE_S)
                sync()

            file.sync = wait_and_sync  # type: ignore[method-assign]
        return file


@contextmanager
def pool(threads: int = 8) -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(threads) as executor:
        yield executor


@contextmanager
def waiting(broker: LiveBroker, count: int = 1) -> Iterator[list[socket.socket]]:
    """Connections of consumers that wait for messages of `events`."""
    with ExitStack() as stack:
        connections = [stack.enter_context(broker.connected()) for _ in range(count)]
        for connection in connections:
            connection.sendall(WAIT)
        yield connections


class Watched:
    """Partitions that tell how many consumers wait at them."""

    def __init__(self) -> None:
        self._partitions: list[Partition] = []

    @property
    def waiting(self) -> int:
        return sum(len(each._waiting) for each in self._partitions)

    def spawn(self, actor_class: type[pykka.ThreadingActor], *args: Any) -> Ref:
        if actor_class is not Partition:
            return spawn_thread(actor_class, *args)
        partitions = self._partitions

        class WatchedPartition(Partition):
            def on_start(self) -> None:
                partitions.append(self)

        return spawn_thread(WatchedPartition, *args)


def answered(connection: socket.socket) -> bytes:
    """Read until the answer's JSON is over, so that the connection can be used again."""
    came = b""
    while not came.endswith(b"}"):
        came += connection.recv(65536)
    return came


def is_readable(connection: socket.socket) -> bool:
    return bool(select.select([connection], [], [], 0)[0])


class TestStart:
    def test_a_port_in_use_is_told_before_anything_is_opened(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(StartError) as caught:
                Server(System(config_for(tmp_path, port=port)))
        assert f"cannot listen on 127.0.0.1 port {port}: Address already in use" in str(
            caught.value
        )
        assert "choose another port (--port)" in str(caught.value)
        assert not (tmp_path / "data").exists()

    @pytest.mark.parametrize("host", ["no.such.host.invalid", "a..b", "x" * 64 + ".b", "1.2.3.4.5"])
    def test_a_host_that_is_none_is_told(self, tmp_path: Path, host: str) -> None:
        with pytest.raises(StartError, match=f"cannot listen on {host} port 0: .*--host"):
            Server(System(config_for(tmp_path, host=host)))

    def test_a_server_that_was_never_started_gives_its_port_back(self, tmp_path: Path) -> None:
        server = Server(System(config_for(tmp_path)))
        port = int(server.url.rsplit(":", 1)[1])
        server.stop(0)
        with socket.create_server(("127.0.0.1", port)):
            assert not server.is_alive()

    def test_a_client_that_comes_before_the_start_is_answered_after_it(
        self, tmp_path: Path
    ) -> None:
        system = System(config_for(tmp_path))
        server = Server(system)
        with socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1]))) as early:
            early.sendall(HEALTH)
            system.start()
            server.start()
            try:
                early.settimeout(DEADLINE_S)
                assert answer_on(early).status == 200
            finally:
                server.stop(DEADLINE_S)
                system.stop()

    def test_a_broker_on_ipv6_is_reached_by_its_url(self, tmp_path: Path) -> None:
        try:
            server = Server(System(config_for(tmp_path, host="::1")))
        except StartError:
            pytest.skip("this machine has no IPv6")
        assert server.url.startswith("http://[::1]:")
        server.stop(0)


class TestStop:
    def test_it_answers_what_is_in_flight_and_takes_nothing_new(self, tmp_path: Path) -> None:
        disk = SlowDisk()
        with live(config_for(tmp_path), disk=disk) as broker, pool() as threads:
            with broker.connected() as idle, broker.connected() as other:
                other.sendall(HEALTH)
                assert answered(other)
                disk.goes_on.clear()
                sent = threads.submit(broker.send, ("a", 1), topic="events")
                assert disk.syncing.wait(DEADLINE_S)
                stopped = threads.submit(broker.server.stop, DEADLINE_S)
                for connection in (idle, other):
                    connection.settimeout(DEADLINE_S)
                    assert connection.recv(100) == b""
                with pytest.raises(ConnectionRefusedError):
                    broker.get("/health")
                assert not sent.done()
                disk.goes_on.set()
                assert sent.result(DEADLINE_S).data["count"] == 1
                stopped.result(DEADLINE_S)
            assert not broker.server.is_alive()

    def test_a_request_that_comes_too_late_on_an_open_connection_is_told(
        self, tmp_path: Path
    ) -> None:
        disk = SlowDisk()
        with live(config_for(tmp_path), disk=disk) as broker, pool() as threads:
            body = json.dumps({"message": {"messageId": "a", "content": 1}}).encode()
            head = b"POST /ingress/events HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body)
            disk.goes_on.clear()
            with broker.connected() as connection:
                connection.sendall(head + body + head + body)
                assert disk.syncing.wait(DEADLINE_S)
                stopped = threads.submit(broker.server.stop, DEADLINE_S)
                until(lambda: _is_refused(broker))
                disk.goes_on.set()
                came = b"".join(iter(lambda: connection.recv(65536), b""))
            stopped.result(DEADLINE_S)
            assert came.count(b"HTTP/1.1 200 OK") == 1
            assert came.count(b"HTTP/1.1 503 Service Unavailable") == 1
            assert came.count(b"SHUTTING_DOWN") == 1
            assert b"Retry-After: 1" in came
            assert broker.system.describe().ingress.offsets.log_end == 1

    def test_waiting_consumers_are_answered_at_once(self, tmp_path: Path) -> None:
        watched = Watched()
        with (
            live(config_for(tmp_path), spawn=watched.spawn) as broker,
            waiting(broker, 4) as connections,
        ):
            until(lambda: watched.waiting == 4)
            began = time.monotonic()
            broker.server.stop(DEADLINE_S)
            assert time.monotonic() - began < 2
            for connection in connections:
                assert answer_on(connection).data["count"] == 0

    def test_idle_and_half_open_connections_do_not_delay_it(self, tmp_path: Path) -> None:
        with live(config_for(tmp_path)) as broker, ExitStack() as stack:
            idle = [stack.enter_context(broker.connected()) for _ in range(20)]
            for connection in idle[:10]:
                connection.sendall(HEALTH)
                assert answered(connection)
            for connection in idle[15:]:
                connection.sendall(b"POST /commit HTTP/1.1\r\nContent-Length: 9\r\n\r\n{")
            began = time.monotonic()
            broker.server.stop(DEADLINE_S)
            assert time.monotonic() - began < 2

    def test_what_takes_too_long_is_left_behind(self, tmp_path: Path) -> None:
        disk = SlowDisk()
        with live(config_for(tmp_path), disk=disk) as broker, pool() as threads:
            disk.goes_on.clear()
            sent = threads.submit(broker.send, ("a", 1), topic="events")
            assert disk.syncing.wait(DEADLINE_S)
            began = time.monotonic()
            broker.server.stop(0.1)
            assert time.monotonic() - began < 3
            with pytest.raises((OSError, http.client.HTTPException)):
                sent.result(DEADLINE_S)
            disk.goes_on.set()

    def test_it_may_come_while_answers_go_out(self, tmp_path: Path) -> None:
        for _ in range(5):
            with (
                live(config_for(tmp_path, threads=2)) as broker,
                broker.connected() as connection,
            ):
                connection.sendall(HEALTH * 3)
                assert answered(connection)
                broker.server.stop(DEADLINE_S)
                assert not broker.server.is_alive()

    def test_stopping_twice_is_fine(self, tmp_path: Path) -> None:
        with live(config_for(tmp_path)) as broker:
            broker.server.stop(DEADLINE_S)
            broker.server.stop(DEADLINE_S)


class TestWaiting:
    def test_more_waiting_consumers_than_places_never_keep_a_producer_out(
        self, tmp_path: Path
    ) -> None:
        watched = Watched()
        config = config_for(tmp_path, threads=2, max_waiting=48)
        with (
            live(config, spawn=watched.spawn) as broker,
            waiting(broker, 70) as connections,
        ):
            until(lambda: watched.waiting == 48)
            until(lambda: sum(map(is_readable, connections)) == 70 - 48)
            early = [each for each in connections if is_readable(each)]
            for connection in early:
                assert answer_on(connection).data["count"] == 0
            with pool(16) as threads:
                began = time.monotonic()
                sent = [threads.submit(broker.send, (n, n), topic="orders") for n in range(64)]
                assert all(each.result(DEADLINE_S).status == 200 for each in sent)
                assert time.monotonic() - began < 5
            assert watched.waiting == 48
            assert broker.send(("a", 1), topic="events").data
            for connection in connections:
                if connection not in early:
                    assert answer_on(connection).data["count"] == 1

    def test_a_client_that_goes_away_frees_its_place(self, tmp_path: Path) -> None:
        watched = Watched()
        config = config_for(tmp_path, threads=2, max_waiting=1)
        with live(config, spawn=watched.spawn) as broker:
            with waiting(broker):
                until(lambda: watched.waiting == 1)
                assert broker.consume("events", "?wait=30000")["count"] == 0
            until(lambda: watched.waiting == 0)
            with waiting(broker) as (connection,):
                until(lambda: watched.waiting == 1)
                assert broker.send(("a", 1), topic="events").data
                assert answer_on(connection).data["count"] == 1

    def test_a_wait_is_cut_at_its_limit(self, tmp_path: Path) -> None:
        with live(config_for(tmp_path, max_wait_ms=50)) as broker:
            began = time.monotonic()
            assert broker.consume("events", "?wait=999999999")["count"] == 0
            assert 0.04 < time.monotonic() - began < 5


class TestConnections:
    def test_a_client_that_dribbles_its_headers_holds_nobody_up(self, tmp_path: Path) -> None:
        with live(config_for(tmp_path, threads=2)) as broker, ExitStack() as s:
            slow = [s.enter_context(broker.connected()) for _ in range(10)]
            for byte in HEALTH[:-1]:
                for connection in slow:
                    connection.sendall(bytes([byte]))
            assert broker.get("/health").status == 200
            assert broker.send(("a", 1), topic="events").status == 200
            for connection in slow:
                connection.sendall(HEALTH[-1:])
                assert answer_on(connection).status == 200

    def test_a_client_that_does_not_read_holds_nobody_up(self, tmp_path: Path) -> None:
        with live(config_for(tmp_path, threads=2)) as broker:
            _fill(broker, 8)
            with broker.connected() as deaf:
                deaf.sendall(b"GET /consume/broker_1/events/0?b=t HTTP/1.1\r\n\r\n")
                until(lambda: is_readable(deaf))
                for _ in range(5):
                    assert broker.get("/health").status == 200
                assert answer_on(deaf).data["count"] == 8

    def test_a_large_answer_comes_whole(self, tmp_path: Path) -> None:
        with live(config_for(tmp_path)) as broker:
            contents = _fill(broker, 12)
            answer = broker.get("/consume/broker_1/events/0?b=t")
            assert len(answer.body) > 12_000_000
            assert [each["content"] for each in answer.data["messages"]] == contents

    def test_an_answer_has_no_more_than_its_limit_and_at_least_one_message(
        self, tmp_path: Path
    ) -> None:
        with live(config_for(tmp_path, max_consume_bytes=2_500_000)) as broker:
            _fill(broker, 4)
            assert broker.consume("events")["count"] == 2
        with live(config_for(tmp_path, max_consume_bytes=1)) as broker:
            assert broker.consume("events")["count"] == 1

    def test_one_connection_may_be_the_limit(self, tmp_path: Path) -> None:
        with live(config_for(tmp_path, max_connections=1)) as broker:
            for _ in range(3):
                assert broker.get("/health").status == 200

    def test_many_clients_at_once_are_all_served(self, tmp_path: Path) -> None:
        with live(config_for(tmp_path)) as broker, pool(16) as threads:
            answers: list[Future[Any]] = [
                threads.submit(broker.send, (f"{n}-a", n), (f"{n}-b", n), topic="events")
                for n in range(100)
            ]
            assert all(each.result(DEADLINE_S).data["count"] == 2 for each in answers)
            until(lambda: broker.consume("events", "?b=t")["count"] == 200)
            came = [each["messageId"] for each in broker.consume("events")["messages"]]
            assert sorted(came) == sorted(f"{n}-{x}" for n in range(100) for x in "ab")
            pairs = zip(came[::2], came[1::2], strict=True)
            assert all(second == first[:-1] + "b" for first, second in pairs)


def _fill(broker: LiveBroker, count: int) -> list[str]:
    """Produce messages of a megabyte, and wait until they can be consumed."""
    contents = [chr(ord("a") + n) * 1_000_000 for n in range(count)]
    for n, content in enumerate(contents):
        assert broker.send((n, content), topic="events").data
    until(lambda: broker.stats()["topics"][1]["partitions"][0]["logEndOffset"] == count)
    return contents


def _is_refused(broker: LiveBroker) -> bool:
    try:
        with broker.connected():
            return False
    except ConnectionError:
        return True
