"""A broker in this process behind a real port, and what clients say to it over HTTP."""

import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, Final, Self, TypeVar

from pandaq.actors.system import System
from pandaq.config import Config, TopicConfig
from pandaq.web.server import Server

T = TypeVar("T")

DEADLINE_S: Final = 10.0
"""After this long nothing is waited for any more."""
JSON: Final = {"Content-Type": "application/json"}


def config_for(
    folder: Path,
    topics: Mapping[str, int] | Sequence[TopicConfig] | None = None,
    **settings: Any,
) -> Config:
    """Return a configuration for tests: any free port, few threads."""
    few: dict[str, Any] = {"port": 0, "threads": 4}
    topics = topics or {"orders": 3, "events": 1}
    if isinstance(topics, Mapping):
        topics = [TopicConfig(*each) for each in topics.items()]
    return Config(topics=topics, data_dir=folder / "data", **(few | settings))


@dataclass(frozen=True)
class Answer:
    """What came back; its JSON is checked to be of one of the contract's two shapes."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def data(self) -> Any:
        """The data of a success."""
        envelope = self._envelope()
        assert (self.status, envelope.get("success")) == (200, True), self.body[:500]
        assert list(envelope) == ["success", "data"]
        return envelope["data"]

    @property
    def error_code(self) -> str:
        """The errorCode of a failure."""
        code, _ = self._failure()
        return code

    @property
    def error(self) -> str:
        """The sentence of a failure."""
        _, sentence = self._failure()
        return sentence

    @property
    def refusal(self) -> tuple[int, str]:
        """The status and the errorCode of a failure."""
        return self.status, self.error_code

    def _failure(self) -> tuple[str, str]:
        envelope = self._envelope()
        assert self.status >= 400, self.body[:500]
        assert envelope["success"] is False
        assert list(envelope) == ["success", "errorCode", "error"]
        code, sentence = envelope["errorCode"], envelope["error"]
        assert isinstance(code, str)
        assert code.isupper()
        assert isinstance(sentence, str)
        assert len(sentence.split()) >= 3, sentence
        assert "Traceback" not in sentence
        return code, sentence

    def _envelope(self) -> dict[str, Any]:
        assert self.headers["Content-Type"] == "application/json"
        assert int(self.headers["Content-Length"]) == len(self.body)
        envelope = json.loads(self.body)
        assert isinstance(envelope, dict)
        return envelope


class LiveBroker:
    """A system and its server."""

    def __init__(self, config: Config, **parts: Any) -> None:
        self.config = config
        self._parts = parts

    def start(self) -> Self:
        self.system = System(self.config, **self._parts)
        self.server = Server(self.system)
        self.system.start()
        self.server.start()
        self.port = int(self.server.url.rsplit(":", 1)[1])
        return self

    def stop(self) -> None:
        self.server.stop(DEADLINE_S)
        self.system.stop()

    def restart(self) -> None:
        self.stop()
        self.start()

    # -- calls

    def call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Make one call on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        try:
            connection.request(method, path, body, JSON if headers is None else dict(headers))
            with connection.getresponse() as response:
                return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def get(self, path: str) -> Answer:
        return self.call("GET", path, headers={})

    def post(self, path: str, value: Any) -> Answer:
        return self.call("POST", path, json.dumps(value).encode())

    def send(self, *messages: tuple[str | int, Any], topic: str) -> Answer:
        """Produce a batch."""
        batch = [{"messageId": key, "content": content} for key, content in messages]
        return self.post(f"/ingress/{topic}", {"messages": batch})

    def consume(self, topic: str, query: str = "?b=t&wait=5000", partition: int = 0) -> Any:
        """Return the data of a consume."""
        return self.get(f"/consume/{self.config.broker_id}/{topic}/{partition}{query}").data

    def commit(self, topic: str, offset: int, consumer: str = "c", partition: int = 0) -> Answer:
        body = {"topicId": topic, "partitionId": partition, "consumerId": consumer}
        return self.post("/commit", body | {"offset": offset})

    def stats(self) -> Any:
        """Return the data of /stats, less what differs between two calls."""
        return {key: value for key, value in self.get("/stats").data.items() if key != "timestamp"}

    # -- below HTTP

    @contextmanager
    def connected(self) -> Iterator[socket.socket]:
        """A connection to say anything on."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE_S) as connection:
            yield connection

    def say(self, *parts: bytes) -> Answer:
        """Send bytes as they are, and return the first answer."""
        with self.connected() as connection:
            for part in parts:
                connection.sendall(part)
            return answer_on(connection)


@contextmanager
def live(config: Config, **parts: Any) -> Iterator[LiveBroker]:
    """A broker that is stopped in the end."""
    broker = LiveBroker(config, **parts).start()
    try:
        yield broker
    finally:
        broker.stop()


def answer_on(connection: socket.socket) -> Answer:
    """Read one answer."""
    with http.client.HTTPResponse(connection) as response:
        response.begin()
        return Answer(response.status, response.headers, response.read())


def until(condition: Callable[[], T]) -> T:
    """Return what `condition` returns once that is true; fail when it takes too long."""
    deadline = time.monotonic() + DEADLINE_S
    pause = Event()
    while not (value := condition()):
        assert time.monotonic() < deadline, "what was waited for did not happen"
        pause.wait(0.005)
    return value
