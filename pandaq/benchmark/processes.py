"""Servers in processes of their own: started, asked where they listen, and ended."""

import os
import re
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final, Self

import msgspec

from pandaq.config_file import ENVIRONMENT
from pandaq.errors import PandaqError
from pandaq_sdk.connection import Connection

START_S: Final = 60.0
"""Within this time a server must say where it listens."""
STOP_S: Final = 20.0
"""Within this time a server must have ended; then it is killed."""
LINES_KEPT: Final = 40
"""Of what a server says, for the error when it does not start."""


class DidNotStart(PandaqError):
    """A server ended, or said nothing, before it listened; `said` is what it said last."""

    def __init__(self, what: str, said: str) -> None:
        super().__init__(f"{what} did not start; it said:\n{said or '(nothing)'}")
        self.said = said


class ListeningProcess:
    """A Python program that says `listens on http://…` on stderr; ended when its block is left.

    with ListeningProcess(["-m", "pandaq.web", "--port", "0"], folder) as server:
        print(server.url)
    """

    def __init__(self, arguments: Sequence[str], folder: Path) -> None:
        self._name = " ".join(arguments[:2])
        self._said: deque[str] = deque(maxlen=LINES_KEPT)
        self._url = ""
        self._heard = threading.Event()
        self._begin = time.perf_counter()
        self._process = subprocess.Popen(  # noqa: S603 (our own program)
            [sys.executable, *arguments],
            cwd=folder,
            env=child_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
        )
        # Somebody has to read all that it says, or it would stop at a full pipe.
        self._listener = threading.Thread(
            target=self._listen, args=(self._process.stderr,), name="what a server says"
        )
        self._listener.start()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def url(self) -> str:
        """Where it listens, once it does. Raises `DidNotStart`."""
        if not self._heard.wait(START_S) or not self._url:
            raise DidNotStart(f"`python {self._name}`", "\n".join(self._said))
        return self._url

    @property
    def age_s(self) -> float:
        """How long ago it was started."""
        return time.perf_counter() - self._begin

    def stop(self) -> None:
        """Ask it to end, and wait until it has; on Windows this is `kill`."""
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        finally:
            self.kill()

    def kill(self) -> None:
        """End it at once; what has ended already stays so."""
        self._process.kill()
        self._process.wait(STOP_S)
        self._listener.join(STOP_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _listen(self, said: IO[str]) -> None:
        with said:
            for line in said:
                self._said.append(line.rstrip())
                if not self._url and (found := re.search(r"listens on (http\S+)", line)):
                    self._url = found[1]
                    self._heard.set()
        self._heard.set()


class BrokerProcess(ListeningProcess):
    """A broker with some topics, by their number of partitions; its data is in `folder`/data.

        with BrokerProcess(folder, {"orders": 3}) as broker:
            Producer(BROKER_ID, broker.url, "orders")

    A second one on the same folder finds what the first has left. Settings are those of a config
    file, by their names there; what is not said has its default.
    """

    def __init__(self, folder: Path, topics: Mapping[str, int], **settings: object) -> None:
        named = [{"id": name, "partitions": count} for name, count in topics.items()]
        config = {"topics": named, "port": 0, "dataDir": "data"} | settings
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_bytes(msgspec.json.encode(config))
        super().__init__(["-m", "pandaq.web", "--config", "config.json"], folder)

    def first_answer_s(self) -> float:
        """Wait for its first answer; return the seconds from the start of the process to it."""
        self.stats()
        return self.age_s

    def stats(self) -> Mapping[str, Any]:
        """Return what `GET /stats` says."""
        connection = Connection(self.url)
        try:
            return connection.call("GET", "/stats").fields
        finally:
            connection.close()


def child_environment() -> dict[str, str]:
    """Return the environment of a child: it imports what we do, and no broker's settings are in it.

    Where this package is no installed one, but lies in a folder on `sys.path`, a child would not
    find it.
    """
    inherited = {key: text for key, text in os.environ.items() if key not in ENVIRONMENT}
    found = [str(Path(each).absolute()) for each in sys.path]
    return inherited | {"PYTHONPATH": os.pathsep.join(dict.fromkeys(found))}
