import http.client
import json
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any, Final

import pytest

from pandaq.actors.system import System
from pandaq.config import Config, TopicConfig
from pandaq.message import Message
from pandaq.storage.checkpoint import read_checkpoint
from pandaq.storage.disk import LocalDisk
from pandaq.web.__main__ import main
from tests.web.broker_process import BrokerProcess, free_port, write_config
from tests.web.live_broker import DEADLINE_S, answer_on, until

SIGNALS: Final = [signal.SIGTERM, signal.SIGINT]

posix_only = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows has no signals that another process could send"
)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path / "conf" / "pandaq-config.json")


def call(broker: BrokerProcess, method: str, path: str, body: Any = None) -> Any:
    """Return the data of a success."""
    connection = http.client.HTTPConnection("127.0.0.1", broker.port, timeout=DEADLINE_S)
    try:
        text = json.dumps(body) if body is not None else None
        connection.request(method, path, text, {"Content-Type": "application/json"})
        with connection.getresponse() as response:
            answer = json.loads(response.read())
    finally:
        connection.close()
    assert answer["success"] is True, answer
    return answer["data"]


def produce(broker: BrokerProcess, first: int, count: int, size: int = 1) -> None:
    messages = [{"messageId": n, "content": "x" * size} for n in range(first, first + count)]
    assert call(broker, "POST", "/ingress/orders", {"messages": messages})["count"] == count


def message_ids(broker: BrokerProcess) -> list[int]:
    """Return the messageIds of both partitions of `orders`."""
    return sorted(
        int(message["messageId"])
        for partition in (0, 1)
        for message in call(broker, "GET", f"/consume/broker_1/orders/{partition}?b=t&max=9999")[
            "messages"
        ]
    )


def data_with_a_message(folder: Path, **topics: int) -> Path:
    """Make a data directory whose topics have a message each."""
    named = [TopicConfig(*topic) for topic in topics.items()]
    with System(Config(topics=named, data_dir=folder / "data")) as broker:
        for topic_id in topics:
            broker.append(topic_id, [Message.of("m", 1)])
    return folder / "data"


@posix_only
class TestStop:
    @pytest.mark.parametrize("number", SIGNALS)
    def test_a_signal_has_everything_routed_and_a_checkpoint_written(
        self, tmp_path: Path, config: Path, number: signal.Signals
    ) -> None:
        with BrokerProcess(tmp_path) as broker:
            for n in range(0, 2000, 400):
                produce(broker, n, 400)
            began = time.monotonic()
            broker.send(number)
            assert broker.wait() == 0
            assert time.monotonic() - began < 5
            assert broker.said.rstrip().endswith("stopped")
            assert "Traceback" not in broker.said
        path = tmp_path / "pandaq-data" / "ingress_metadata.log"
        checkpoint = read_checkpoint(LocalDisk(), path)
        assert checkpoint
        assert checkpoint.ingress.read == checkpoint.ingress.log_end == 2000
        assert sum(each.log_end for each in checkpoint.partitions.values()) == 2000
        with BrokerProcess(tmp_path) as broker:
            assert message_ids(broker) == list(range(2000))
            assert " 0 messages routed" in broker.said

    def test_waiting_consumers_and_idle_clients_do_not_delay_it(
        self, tmp_path: Path, config: Path
    ) -> None:
        with BrokerProcess(tmp_path) as broker:
            address = ("127.0.0.1", broker.port)
            with (
                socket.create_connection(address, DEADLINE_S) as waiting,
                socket.create_connection(address, DEADLINE_S),
            ):
                waiting.sendall(b"GET /consume/broker_1/orders/0?wait=30000 HTTP/1.1\r\n\r\n")
                call(broker, "GET", "/stats")
                began = time.monotonic()
                broker.send(signal.SIGTERM)
                assert answer_on(waiting).status in {200, 503}
                assert broker.wait() == 0
                assert time.monotonic() - began < 2.5

    def test_a_second_signal_stops_it_at_once(self, tmp_path: Path) -> None:
        config = write_config(tmp_path / "config.json", stopTimeoutMs=60_000)
        with BrokerProcess(tmp_path, "--config", config) as broker:
            produce(broker, 0, 12, 1_000_000)
            until(lambda: len(message_ids(broker)) == 12)
            address = ("127.0.0.1", broker.port)
            with socket.create_connection(address, DEADLINE_S) as deaf:
                deaf.sendall(b"GET /consume/broker_1/orders/0?b=t HTTP/1.1\r\n\r\n")
                assert deaf.recv(1)
                broker.send(signal.SIGTERM)
                until(lambda: not _listens(address))
                broker.send(signal.SIGTERM)
                assert broker.wait() == 128 + signal.SIGTERM
        with BrokerProcess(tmp_path, "--config", config) as broker:
            assert len(message_ids(broker)) == 12

    def test_a_signal_that_comes_early_stops_it_as_well(self, tmp_path: Path, config: Path) -> None:
        with BrokerProcess(tmp_path) as broker:
            until(lambda: broker.said)  # It handles signals before it says anything.
            broker.send(signal.SIGTERM)
            assert broker.wait() == 0


class TestKill:
    def test_all_that_was_answered_is_there_again(self, tmp_path: Path, config: Path) -> None:
        for run in range(2):
            with BrokerProcess(tmp_path) as broker:
                assert message_ids(broker) == list(range(run * 30))
                for n in range(10):
                    produce(broker, run * 30 + n, 1)
                produce(broker, run * 30 + 10, 20)
        with BrokerProcess(tmp_path) as broker:
            assert message_ids(broker) == list(range(60))
            assert "Traceback" not in broker.said

    def test_a_commit_that_was_answered_holds(self, tmp_path: Path) -> None:
        config = write_config(tmp_path / "config.json", {"orders": 1})
        commit = {"topicId": "orders", "partitionId": 0, "consumerId": "c", "offset": 3}
        with BrokerProcess(tmp_path, "--config", config) as broker:
            produce(broker, 0, 5)
            assert call(broker, "GET", "/consume/broker_1/orders/0?wait=5000")["count"] == 1
            assert call(broker, "POST", "/commit", commit)["newReadOffset"] == 3
        with BrokerProcess(tmp_path, "--config", config) as broker:
            batch = call(broker, "GET", "/consume/broker_1/orders/0?b=t")
            assert (batch["startOffset"], batch["endOffset"]) == (3, 5)
            assert call(broker, "POST", "/register/orders", commit)["partitionId"] == 0


class TestWhatCannotStart:
    def refused(self, folder: Path, *arguments: str | Path, **env: str) -> str:
        """Return the one line that a broker says before it ends with code 2."""
        with BrokerProcess(folder, *arguments, env=env) as broker:
            assert broker.wait() == 2
            (line,) = broker.said.splitlines()
        assert line.startswith("pandaq: ")
        return line

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            (None, "there is no such config file"),
            ('{"topics": [', "the file is not valid JSON at line 1"),
            ('{"topics": []}', "topics is []; it must be a list"),
            ('{"brokerId": "b"}', "topics is missing"),
            ('{"topics": [{"id": "a", "partitions": 0}]}', "topics[0].partitions is 0"),
            ('{"topics": [{"id": "a/b", "partitions": 1}]}', "topics[0].id is 'a/b'"),
            ('{"topics": [{"id": "a", "partitions": 1}], "port": 70000}', "port is 70000"),
            (
                '{"topics": [{"id": "a", "partitions": 1}], "reBoot": true}',
                "reBoot is not a setting; did you mean reboot?",
            ),
        ],
    )
    def test_a_wrong_config_file(self, tmp_path: Path, text: str | None, words: str) -> None:
        path = tmp_path / "config.json"
        if text is not None:
            path.write_text(text, encoding="utf-8")
        line = self.refused(tmp_path, "--config", path)
        assert line.startswith(f"pandaq: {path}: ")
        assert words in line

    @pytest.mark.parametrize(
        ("arguments", "env", "words"),
        [
            (["--port", "http"], {}, "--port: port is 'http'"),
            (["--port", "65536"], {}, "--port: port is 65536"),
            (["--host", ""], {}, "--host: host is ''"),
            (["--host", "a..b", "--port", "0"], {}, "cannot listen on a..b"),
            ([], {"PORT": "-1"}, "environment variable PORT: port is '-1'"),
            ([], {"BROKER_ID": "a|b"}, "environment variable BROKER_ID: brokerId is 'a|b'"),
        ],
    )
    def test_a_wrong_option_or_variable(
        self, tmp_path: Path, arguments: list[str], env: dict[str, str], words: str
    ) -> None:
        assert words in self.refused(tmp_path, *arguments, **env)
        assert not (tmp_path / "pandaq-data").exists()

    def test_a_wrong_dotenv_file(self, tmp_path: Path) -> None:
        (tmp_path / ".env").write_text("PORT=none\n", encoding="utf-8")
        assert f".env file {tmp_path / '.env'}, PORT: port is 'none'" in self.refused(tmp_path)

    @pytest.mark.parametrize("default", [True, False])
    def test_fewer_partitions_than_the_data_has(
        self,
        tmp_path: Path,
        default: bool,
    ) -> None:
        data = data_with_a_message(tmp_path, orders=3)
        path = tmp_path / ("conf/pandaq-config.json" if default else "other.yaml")
        write_config(path, {"orders": 2})
        named = [] if default else ["--config", str(path)]
        line = self.refused(tmp_path, "--data", data, *named)
        assert line.startswith(
            f"pandaq: {path}: topics[0].partitions is 2, but topic 'orders' has 3"
        )

    def test_a_topic_with_data_left_out(self, tmp_path: Path, config: Path) -> None:
        data = data_with_a_message(tmp_path, orders=2, audit=4)
        line = self.refused(tmp_path, "--data", data)
        assert line.startswith(f"pandaq: {config}: topics lacks topic 'audit'")
        assert "put it back with its 4 partitions" in line

    def test_data_that_the_defaults_do_not_fit(self, tmp_path: Path) -> None:
        data = data_with_a_message(tmp_path, audit=1)
        line = self.refused(tmp_path, "--data", data, "--port", "0")
        assert line.startswith("pandaq: the default settings: topics lacks topic 'audit'")

    def test_a_folder_of_somebody_else(self, tmp_path: Path) -> None:
        photos = tmp_path / "photos"
        photos.mkdir()
        (photos / "cat.jpg").write_bytes(b"meow")
        line = self.refused(tmp_path, "--data", photos, "--port", "0")
        assert f"{photos} is not empty and is no data directory" in line
        assert [path.name for path in photos.iterdir()] == ["cat.jpg"]

    def test_a_data_directory_that_is_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "data").write_text("text", encoding="utf-8")
        assert str(tmp_path / "data") in self.refused(tmp_path, "--data", "data", "--port", "0")

    def test_a_second_broker_on_the_same_directory(self, tmp_path: Path, config: Path) -> None:
        with BrokerProcess(tmp_path) as first:
            produce(first, 0, 1)
            line = self.refused(tmp_path)
            assert f"another broker is using {tmp_path / 'pandaq-data'}" in line
            produce(first, 1, 1)
            until(lambda: message_ids(first) == [0, 1])

    def test_a_port_in_use(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            line = self.refused(tmp_path, "--port", str(port))
        assert f"cannot listen on 127.0.0.1 port {port}: Address already in use" in line
        assert not (tmp_path / "pandaq-data").exists()


class TestSettings:
    def test_the_command_line_outranks_the_environment_then_dotenv_then_the_file(
        self, tmp_path: Path, config: Path
    ) -> None:
        write_config(config, brokerId="of_the_file", port=free_port(), dataDir="of_the_file")
        port = free_port()
        (tmp_path / ".env").write_text(
            f"BROKER_ID=of_dotenv\nPORT={port}\nDATA_STORAGE_VOLUME=of_dotenv\n", encoding="utf-8"
        )
        with BrokerProcess(tmp_path) as broker:
            assert broker.port == port
            assert call(broker, "GET", "/stats")["brokerId"] == "of_dotenv"
        assert (tmp_path / "of_dotenv" / "ingress.log").exists()
        env = {"BROKER_ID": "of_env", "PORT": "none", "INGRESS_LOG_FILE": "elsewhere/wal.log"}
        with BrokerProcess(tmp_path, "--port", "0", "--data", "of_options", env=env) as broker:
            stats = call(broker, "GET", "/stats")
            assert stats["brokerId"] == "of_env"
            assert [topic["topicId"] for topic in stats["topics"]] == ["orders"]
        assert (tmp_path / "of_options" / "config.log").exists()
        assert (tmp_path / "elsewhere" / "wal.log").exists()
        assert not (tmp_path / "of_file").exists()

    def test_without_a_config_file_there_are_two_topics(self, tmp_path: Path) -> None:
        with BrokerProcess(tmp_path, "--port", "0") as broker:
            topics = call(broker, "GET", "/stats")["topics"]
        found = [(topic["topicId"], topic["partitionCount"]) for topic in topics]
        assert found == [("orders", 3), ("events", 2)]

    def test_reboot_says_so_and_wipes(self, tmp_path: Path, config: Path) -> None:
        with BrokerProcess(tmp_path) as broker:
            produce(broker, 0, 3)
        write_config(config, reboot=True)
        with BrokerProcess(tmp_path) as broker:
            stats = call(broker, "GET", "/stats")
            assert stats["ingressBuffer"]["logEndOffset"] == 0
            assert message_ids(broker) == []
            assert "reboot is on: all data of the broker has been deleted" in broker.said

    def test_more_partitions_and_topics_are_added(self, tmp_path: Path, config: Path) -> None:
        with BrokerProcess(tmp_path) as broker:
            produce(broker, 0, 10)
        write_config(config, {"orders": 4, "audit": 1})
        with BrokerProcess(tmp_path) as broker:
            assert message_ids(broker) == list(range(10))
            topics = call(broker, "GET", "/stats")["topics"]
            assert [topic["partitionCount"] for topic in topics] == [4, 1]

    def test_help_tells_of_every_option(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as ended:
            main(["--help"])
        assert ended.value.code == 0
        said = capsys.readouterr().out
        for word in ("--config", "--host", "--port", "--data", "DATA_STORAGE_VOLUME", "BROKER_ID"):
            assert word in said

    def test_an_unknown_option_ends_with_code_2(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as ended:
            main(["--topics", "orders"])
        assert ended.value.code == 2
        assert "unrecognized arguments: --topics" in capsys.readouterr().err


def _listens(address: tuple[str, int]) -> bool:
    try:
        with socket.create_connection(address, DEADLINE_S):
            return True
    except ConnectionError:
        return False
