"""Other people's servers in processes of their own, on free ports of the loopback address."""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Self

from pandaq.errors import PandaqError

START_S: Final = 90.0
STOP_S: Final = 20.0
POLL_S: Final = 0.02
LOOPBACK: Final = "127.0.0.1"
SEARCHED: Final = os.pathsep.join((os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin"))
"""Debian puts servers where only root's PATH leads."""


class ServerFailed(PandaqError):
    """A server did not come up; `said` is the end of its log."""

    def __init__(self, program: str, said: str) -> None:
        super().__init__(f"{program} does not listen; its log ends:\n{said or '(nothing)'}")
        self.said = said


class Server:
    """A server that listens on `port`; ended, with its own children, when its block is left."""

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        port: int,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.port = port
        self._program = Path(command[0]).name
        self._log = folder / f"{self._program}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env=os.environ | dict(environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        try:
            self._wait_until_it_listens()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _wait_until_it_listens(self) -> None:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                socket.create_connection((LOOPBACK, self.port), timeout=1).close()
            except OSError:
                time.sleep(POLL_S)
            else:
                return
        raise ServerFailed(self._program, self._log.read_text(errors="replace")[-2000:])

    def _end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            # Its session is its own: nobody else's processes are in this group.
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(STOP_S)


def program(name: str) -> str | None:
    """Return the path of a program, or None where it is not installed."""
    return shutil.which(name, path=SEARCHED)


def missing(name: str, debian_package: str, module: str) -> str | None:
    """Return what to do to have a peer measured; None where its program and client are there."""
    if program(name) is None:
        return f"{name} is not installed; on Debian: apt-get install {debian_package}"
    if importlib.util.find_spec(module) is None:
        return f"the Python package {module} is not installed; pip install '.[bench]'"
    return None


def version_of(name: str, *arguments: str) -> str:
    """Return the first thing that looks like a version in what a program says of itself."""
    done = subprocess.run(
        [program(name) or name, *arguments], capture_output=True, text=True, timeout=30, check=False
    )
    words = (done.stdout + done.stderr).replace("=", " ").split()
    return next((word.lstrip("v") for word in words if word.lstrip("v")[:1].isdigit()), "?")


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.create_server((LOOPBACK, 0)) as taken:
        port: int = taken.getsockname()[1]
    return port
