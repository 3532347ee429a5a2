"""Other people's servers, with a Python program in place of one."""

import sys
from pathlib import Path

import pytest

from bench.peers import Peer
from bench.peers.beanstalkd import Beanstalkd
from bench.peers.jetstream import JetStream
from bench.peers.rabbitmq import RabbitMQ
from bench.peers.redis_streams import RedisStreams
from bench.servers import Server, ServerFailed, free_port, missing

LISTEN = """\
import socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    server.accept()[0].close()
"""


def test_a_server_is_there_once_its_block_begins_and_gone_after_it(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-c", LISTEN, str(port)]
    with Server(command, tmp_path, port) as server:
        assert server.port == port
    with Server(command, tmp_path, port):
        pass


def test_a_server_that_ends_at_once_is_told_with_its_log(tmp_path: Path) -> None:
    with (
        pytest.raises(ServerFailed, match="no such option"),
        Server([sys.executable, "-c", "raise SystemExit('no such option')"], tmp_path, 1),
    ):
        pass


def test_a_missing_program_is_named_with_its_package() -> None:
    sentence = missing("no-such-server", "no-such-package", "json")
    assert sentence == "no-such-server is not installed; on Debian: apt-get install no-such-package"


def test_a_missing_client_is_named_with_the_extra() -> None:
    sentence = missing(sys.executable, "python3", "no_such_module")
    assert sentence == "the Python package no_such_module is not installed; pip install '.[bench]'"


def test_what_is_there_is_not_missing() -> None:
    assert missing(sys.executable, "python3", "json") is None


@pytest.mark.parametrize("peer", [RedisStreams(), JetStream(), RabbitMQ(), Beanstalkd()])
def test_every_peer_says_what_to_install(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.servers.program", lambda _name: None)
    assert "apt-get install" in (peer.missing() or "")
