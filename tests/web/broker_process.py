"""A broker in a process of its own: `python -m pandaq.web`."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from pandaq.config_file import ENVIRONMENT
from tests.web.live_broker import until

ROOT: Final = Path(__file__).resolve().parents[2]
EXIT_S: Final = 10.0
"""Within this time a broker must have stopped."""


class BrokerProcess:
    """Runs with `folder` as its working directory; what it says is in `said`."""

    def __init__(
        self, folder: Path, *arguments: str | Path, env: Mapping[str, str] | None = None
    ) -> None:
        inherited = {key: text for key, text in os.environ.items() if key not in ENVIRONMENT}
        self._log = folder / f"said-{len(list(folder.glob('said-*')))}.txt"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pandaq.web", *map(str, arguments)],
                cwd=folder,
                env=inherited | {"PYTHONPATH": str(ROOT)} | dict(env or {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    @property
    def said(self) -> str:
        return self._log.read_text(encoding="utf-8")

    @property
    def url(self) -> str:
        """Where it listens, once it does."""

        def found() -> str | None:
            assert self._process.poll() is None, self.said
            match = re.search(r"listens on (http\S+)", self.said)
            return match[1] if match else None

        return until(found) or ""

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self) -> int:
        """Return the exit code."""
        return self._process.wait(EXIT_S)

    def kill(self) -> None:
        """End it at once, as `kill -9` does; again, it does nothing."""
        self._process.kill()
        self._process.wait(EXIT_S)


def write_config(path: Path, topics: Mapping[str, int] | None = None, **settings: Any) -> Path:
    """Write a config file, by default with the topic `orders` of two partitions."""
    named = [{"id": key, "partitions": count} for key, count in (topics or {"orders": 2}).items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"topics": named, "port": 0} | settings), encoding="utf-8")
    return path


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port
