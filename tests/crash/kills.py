"""A broker process under load, killed at random moments and started again on the same data.

    python -m tests.crash kills --seed 1 --kills 200 --messages 1000000

Each round starts the broker (and may kill it a few times before it listens), reads all partitions
to their end, compares them with the ledger, lets producers and consumers work, and ends the broker
in one of several ways. The seed decides the ways, moments and sizes; how the threads and processes
interleave is the system's affair, so a seed does not replay a run exactly.
"""

import argparse
import http.client
import os
import random
import shutil
import signal
import statistics
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import msgspec

from tests.crash.ledger import Kind, Ledger, Status
from tests.crash.load import (
    PARTITIONS,
    PRODUCERS,
    ROUND_S,
    TOPIC,
    Client,
    Load,
    as_record,
)
from tests.crash.member import GROUP
from tests.crash.members import Members
from tests.web.broker_process import BrokerProcess, free_port, write_config

WATCH_S: Final = 3.0
"""So long the file that a kill waits for may take to change."""
EXIT_S: Final = 20.0
"""Within this time a broker that was told to stop must have ended."""
POLL_S: Final = 0.001
SETTLING_MESSAGES: Final = 5_000
MEMBERS_S: Final = 120.0
"""Within this time those that share must have read all that is left."""
NAMED: Final = 20
"""So many violations are named in the end."""
STOPS: Final = os.name == "posix"
"""Whether the system has a SIGTERM that a process can answer."""
ENDS: Final = ("load",) * 6 + ("checkpoint", "segment") * 2 + ("stopping",) * 3 + ("clean",) * 2
"""The ways a load ends, each as often as it is to be drawn."""


class Kills:
    """The loop: its broker, its ledger, and what it has counted and measured."""

    def __init__(self, folder: Path, seed: int, members: int = 3) -> None:
        self.ledger = Ledger(PRODUCERS, PARTITIONS)
        self.kills: Counter[str] = Counter()
        self.rounds = 0
        self.clean_stops = 0
        self.measured: list[tuple[int, int, int]] = []
        self._folder = folder
        self._data = folder / "data"
        self._seed = seed
        self._chance = random.Random(seed)
        self._was_clean = False
        self._start_s = 1.0
        self._port = free_port()
        self.shared = (0, 0)
        self.members = Members(folder, f"http://127.0.0.1:{self._port}", members)

    def round(self, load_s: float, end: str = "") -> None:
        """Start, check, load and end the broker once; `load_s` is the longest a load takes."""
        self.rounds += 1
        for _ in range(self._chance.choice((0, 0, 0, 0, 1, 2))):
            self._kill_while_it_starts()
        with self._broker() as broker:
            load = Load(self.ledger, self._started(broker), f"{self._seed} {self.rounds}")
            self.members.change(self._chance)
            try:
                self._wait(end or self._chance.choice(ENDS), broker, load_s)
            finally:
                broker.kill()
                load.end()
        self._check_said(broker)

    def finish(self) -> None:
        """Start the broker a last time, let the members come to the end, and check everything."""
        try:
            with self._broker() as broker:
                port = self._started(broker)
                with closing(Client(port)) as client:
                    self._wait_for_members(client)
                    log_ends = [end for _, end in self._offsets(client)]
        finally:
            self.members.end()
        self._check_said(broker)
        self.ledger.check_all()
        self.shared = self.members.check(self.ledger, log_ends)

    def _wait_for_members(self, client: Client) -> None:
        """Wait until those that share the topic have committed all of it."""
        deadline = time.monotonic() + MEMBERS_S
        while time.monotonic() < deadline:
            topic = msgspec.json.decode(client.call("GET", "/stats")[1])["data"]["topics"][0]
            groups = [group for group in topic["groups"] if group["group"] == GROUP]
            if groups and not sum(each["pendingMessages"] for each in groups[0]["partitions"]):
                return
            pause(0.1)
        self.ledger.found(Kind.HOLE, f"the members did not come to the end within {MEMBERS_S} s")

    @contextmanager
    def _broker(self) -> Iterator[BrokerProcess]:
        config = write_config(
            self._folder / "config.json",
            {TOPIC: PARTITIONS},
            dataDir=str(self._data),
            port=self._port,
            checkpointIntervalMs=self._chance.choice((1, 20, 200, 1_000)),
            segmentBytes=self._chance.choice((64, 256, 1024)) << 10,
            batchSize=self._chance.choice((200, 2_000)),
            retention={"keepCommitted": False, "maxAgeMs": 60_000},
        )
        with BrokerProcess(self._folder, "--config", config) as broker:
            yield broker

    def _kill_while_it_starts(self) -> None:
        """Kill it soon after the process was started, or about when it recovers."""
        is_late = self._chance.random() < 0.5
        after_s = self._chance.uniform(0.5, 1.0) * self._start_s if is_late else 0.0
        with self._broker() as broker:
            pause(after_s or self._chance.uniform(0, 0.3))
            broker.kill()
        self._check_said(broker)
        self.kills["listening" if "listens on" in broker.said else "starting"] += 1
        self._was_clean = False

    def _started(self, broker: BrokerProcess) -> int:
        """Wait until it listens, check all that it has, and return its port."""
        began = time.monotonic()
        port = broker.port
        self._start_s = time.monotonic() - began
        if self._was_clean and " 0 messages routed" not in broker.said:
            self.ledger.found(Kind.BROKER, f"messages to route after a clean stop: {broker.said}")
        self._was_clean = False
        with closing(Client(port)) as client:
            for partition, offsets in enumerate(self._offsets(client)):
                self.ledger.check_offsets(partition, *offsets)
                self._read_to_end(client, partition)
            self.ledger.settle(end for _, end in self._offsets(client))
        return port

    def _offsets(self, client: Client) -> list[tuple[int, int]]:
        stats = msgspec.json.decode(client.call("GET", "/stats")[1])["data"]
        partitions = stats["topics"][0]["partitions"]
        return [(each["readOffset"], each["logEndOffset"]) for each in partitions]

    def _read_to_end(self, client: Client, partition: int) -> None:
        deadline = time.monotonic() + ROUND_S
        while time.monotonic() < deadline:
            batch = client.read(partition, SETTLING_MESSAGES, 0)
            if batch is None or not batch.messages:
                return
            self.ledger.saw(partition, batch.start_offset, map(as_record, batch.messages))
            self.ledger.committing(partition, batch.end_offset)
            status, answer = client.commit(partition, batch.end_offset)
            if status != 200:
                self.ledger.found(Kind.BROKER, f"a commit was answered {answer[:200]!r}")
                return
            self.ledger.committed(partition, batch.end_offset)

    def _wait(self, end: str, broker: BrokerProcess, load_s: float) -> None:
        """Let the load go on for a while, measure, and end the broker in the way `end`."""
        pause(self._chance.uniform(0.1, 1.0) * load_s)
        self._measure(broker)
        if STOPS and end in ("stopping", "clean"):
            # Squared, since most stops take less than half of it.
            after_s = 0.2 * self._chance.random() ** 2
            self._stop(broker, after_s if end == "stopping" else EXIT_S)
            return
        look = {"checkpoint": self._checkpoint, "segment": self._segments}.get(end)
        is_hit = look is not None and changes(look)
        broker.kill()
        self.kills[end if is_hit else "load"] += 1

    def _stop(self, broker: BrokerProcess, seconds: float) -> None:
        """Tell it to stop, and kill it where it takes longer."""
        broker.send(signal.SIGTERM)
        try:
            code = broker._process.wait(seconds)
        except subprocess.TimeoutExpired:
            broker.kill()
            self.kills["stopping"] += 1
            if seconds == EXIT_S:
                self.ledger.found(Kind.BROKER, f"no end after {EXIT_S} s: {broker.said}")
            return
        if code:
            self.ledger.found(Kind.BROKER, f"a clean stop has exit code {code}: {broker.said}")
        self._was_clean = True
        self.clean_stops += 1

    def _checkpoint(self) -> object:
        """What differs while a checkpoint is written, and after it."""
        path = self._data / "ingress_metadata.log"
        return path.with_name(f"{path.name}.tmp").exists(), path.stat().st_mtime_ns

    def _segments(self) -> object:
        """What differs when a log goes on in a new file, and when an old one is deleted."""
        return sorted(self._data.rglob("*.index"))

    def _measure(self, broker: BrokerProcess) -> None:
        """Note memory (KiB), open files and bytes on the disk, where the system tells."""
        process = Path("/proc") / str(broker._process.pid)
        if process.exists():
            status = (process / "status").read_text(encoding="utf-8")
            memory = int(status.partition("VmRSS:")[2].split()[0])
            files = len(list((process / "fd").iterdir()))
            self.measured.append((memory, files, size_of(self._data)))

    def _check_said(self, broker: BrokerProcess) -> None:
        """A kill alone, with no loss of power, leaves nothing damaged."""
        for line in broker.said.splitlines():
            if any(word in line for word in ("damaged", "missing", "Traceback", " ERROR ")):
                self.ledger.found(Kind.BROKER, f"the broker said: {line}")

    def summary(self) -> str:
        """Return what there was, in one line."""
        ledger, kinds = self.ledger, self.ledger.by_kind()
        ways = ", ".join(f"{count} {way}" for way, count in self.kills.most_common())
        text = f"seed {self._seed}: {self.kills.total()} kills ({ways}), "
        text += f"{self.clean_stops} clean stops, {ledger.total(Status.ACKNOWLEDGED)} acknowledged,"
        text += f" {ledger.total(Status.REFUSED)} refused, {ledger.total(Status.UNKNOWN)} unknown "
        text += f"({ledger.unknown_and_there()} there), "
        text += ", ".join(f"{kind.value} {kinds[kind]}" for kind in Kind)
        text += f", {self.members.kills} members killed, which read {self.shared[0]} messages, "
        text += f"{self.shared[1]} again"
        quarter = len(self.measured) // 4
        if quarter:
            first = [statistics.median(each) for each in zip(*self.measured[:quarter], strict=True)]
            last = [statistics.median(each) for each in zip(*self.measured[-quarter:], strict=True)]
            text += f"; memory {first[0] / 1024:.0f} -> {last[0] / 1024:.0f} MiB"
            text += f", files {first[1]:.0f} -> {last[1]:.0f}"
            text += f", disk {first[2] / 2**20:.1f} -> {last[2] / 2**20:.1f} MiB"
        return text


def changes(look: Callable[[], object]) -> bool:
    """Wait until something looks different; return False where it does not for long."""
    before = look()
    deadline = time.monotonic() + WATCH_S
    while time.monotonic() < deadline:
        if look() != before:
            return True
        pause(POLL_S)
    return False


def size_of(folder: Path) -> int:
    """Return the bytes of all files below; those that are deleted just then count nothing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total


def pause(seconds: float) -> None:
    threading.Event().wait(seconds)


def main(arguments: Sequence[str]) -> int:
    """Go on until there were as many kills and messages as asked for; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash kills")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--minutes", type=float, default=30)
    options = parser.parse_args(arguments)
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="pandaq-kills-"))
    loop = Kills(folder, options.seed)

    def share() -> tuple[float, float]:
        sent = loop.ledger.total(Status.ACKNOWLEDGED)
        return loop.kills.total() / max(options.kills, 1), sent / max(options.messages, 1)

    said = 0
    try:
        while min(share()) < 1 and time.monotonic() - began < options.minutes * 60:
            kills, messages = share()
            loop.round(1.0 if messages < kills else 0.3)
            if loop.ledger.violations:
                break
            if loop.kills.total() // 10 > said:
                said = loop.kills.total() // 10
                print(f"{time.monotonic() - began:.0f} s: {loop.summary()}", flush=True)
        loop.finish()
    except (AssertionError, OSError, http.client.HTTPException, msgspec.MsgspecError) as error:
        loop.ledger.found(Kind.BROKER, f"the broker does not work: {error!r}")
    print(loop.summary())
    for violation in list(loop.ledger.violations)[:NAMED]:
        print(f"{violation.kind}: {violation.text}")
    if loop.ledger.violations:
        print(f"the data directory is {folder}")
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    if min(share()) < 1:
        print(f"{options.minutes} minutes were not enough")
        return 1
    return 0
