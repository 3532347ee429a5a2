"""Share the partitions of a topic among processes that come and go, and lose nothing.

    python sdk/examples/shared_partitions.py FILE

Starts a broker of its own in a temporary directory and produces every line of a file of JSON lines
(messageId: its number, content: its value) into a topic of six partitions. Four worker processes
share them as one group. On the way two are killed with no warning, and two others join. The workers
print which partitions they are given and lose; in the end every message must have been handled at
least once. Exit code 0 where it was.
"""

import argparse
import json
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from pandaq_sdk import GroupConsumer, Producer

BROKER_ID = "shared"
TOPIC = "lines"
GROUP = "workers"
PARTITIONS = 6
BATCH = 50
LEASE_MS = 1_500
HANDLING_S = 0.05
PATIENCE_S = 120.0


def say(name: str, text: str) -> None:
    """Print a line of the log."""
    print(f"{datetime.now(UTC):%H:%M:%S.%f} {name}: {text}", flush=True)


def work(url: str, name: str, handled: Path) -> None:
    """Be a worker: handle messages until killed, and note each one once it is handled."""
    with (
        handled.open("a", encoding="utf-8") as log,
        GroupConsumer(
            url,
            BROKER_ID,
            name,
            TOPIC,
            group=GROUP,
            lease_ms=LEASE_MS,
            poll_max_messages=20,
            on_assigned=lambda numbers: say(name, f"has got {numbers}"),
            on_revoked=lambda numbers: say(name, f"has lost {numbers}"),
        ) as consumer,
    ):
        for message in consumer:
            time.sleep(HANDLING_S)
            print(message.message_id, file=log, flush=True)


@contextmanager
def broker(folder: Path) -> Iterator[str]:
    """Run a broker in a process of its own; its URL."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = {"brokerId": BROKER_ID, "topics": [{"id": TOPIC, "partitions": PARTITIONS}]}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    command = ["--config", "config.json", "--data", "data", "--port", str(port)]
    process = subprocess.Popen([sys.executable, "-m", "pandaq.web", *command], cwd=folder)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


class Workers:
    """The worker processes, and what they have handled."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder
        self._url = url
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, *names: str) -> None:
        """Start workers."""
        for name in names:
            say("main", f"starts {name}")
            command = [sys.executable, __file__, "--worker", name, "--url", self._url]
            self._running[name] = subprocess.Popen(command, cwd=self._folder)

    def kill(self, *names: str) -> None:
        """End workers at once, as `kill -9` does."""
        for name in names:
            say("main", f"kills {name}")
            process = self._running.pop(name)
            process.kill()
            process.wait()

    def handled(self) -> Counter[str]:
        """Count how often each message was handled."""
        files = self._folder.glob("handled-*.log")
        return Counter(key for file in files for key in file.read_text("utf-8").split("\n")[:-1])

    def wait_for(self, count: int) -> None:
        """Wait until so many different messages were handled."""
        deadline = time.monotonic() + PATIENCE_S
        while len(self.handled()) < count and time.monotonic() < deadline:
            time.sleep(0.05)


def produce(url: str, path: Path) -> set[str]:
    """Produce every line that is not blank; return the messageIds."""
    with path.open(encoding="utf-8") as lines:
        values = {str(n): json.loads(line) for n, line in enumerate(lines, 1) if line.strip()}
    messages = [{"messageId": key, "content": value} for key, value in values.items()]
    with Producer(BROKER_ID, url, TOPIC) as producer:
        for start in range(0, len(messages), BATCH):
            producer.produce_batch(messages[start : start + BATCH])
    return set(values)


def run(path: Path, folder: Path) -> bool:
    """Do it all; tell whether every message was handled."""
    with broker(folder) as url:
        sent = produce(url, path)
        workers = Workers(folder, url)
        try:
            workers.start("ann", "bob", "cleo", "dave")
            workers.wait_for(len(sent) // 4)
            workers.kill("ann", "bob")
            workers.wait_for(len(sent) // 2)
            workers.start("erin", "fred")
            workers.wait_for(len(sent))
        finally:
            handled = workers.handled()
            workers.kill(*list(workers._running))  # noqa: SLF001 (those that are left)
    missing = sent - handled.keys()
    again = handled.total() - len(handled)
    print(f"{len(sent)} sent, {len(handled)} handled, {again} of them again, {len(missing)} not")
    return not missing and handled.keys() <= sent


def main(arguments: Sequence[str] | None = None) -> int:
    """Do it; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, nargs="?", help="JSON values, one a line")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker:
        work(options.url, options.worker, Path(f"handled-{options.worker}.log"))
        return 0
    if options.file is None:
        parser.error("name a file of JSON lines")
    with TemporaryDirectory() as folder:
        return 0 if run(options.file.resolve(), Path(folder)) else 1


if __name__ == "__main__":
    sys.exit(main())
