"""A process that shares the partitions of the kill loop's topic, until it is killed.

    python -m tests.crash.member URL NAME FILE

It notes what it does in FILE, a line each, written at once, so that a kill costs none. Times are
nanoseconds of the system's monotonic clock, which all processes have in common:

    read|partition|generation|startOffset|sent at|answered at|messageId,messageId,…
    commit|partition|generation|offset|sent at|answered at
"""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pandaq_sdk.connection import Connection
from pandaq_sdk.errors import (
    ConnectionFailed,
    InvalidOffset,
    NotAssigned,
    NotFound,
    Unavailable,
    UnexpectedAnswer,
)
from pandaq_sdk.group_calls import Assignment, GroupCalls, Identity
from tests.crash.load import BROKER, TOPIC

GROUP: Final = "shared"
LEASE_MS: Final = 1_500
BATCH: Final = 1_000
PAUSE_S: Final = 0.05
AWAY: Final = (ConnectionFailed, Unavailable, UnexpectedAnswer)


class Member:
    """Reads what it is assigned, one batch of each partition after the other, and commits it."""

    def __init__(self, url: str, name: str, file: Path) -> None:
        identity = Identity(BROKER, TOPIC, GROUP, name)
        self._calls = GroupCalls(identity, lambda: Connection(url, retries=0, timeout_s=15))
        self._log = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._assignment: Assignment = {}
        self._heard_s = 0.0

    def run(self) -> None:
        """Go on until killed."""
        while True:
            try:
                self._beat()
                count = sum([self._handle(*each) for each in list(self._assignment.items())])
            except AWAY:
                self._heard_s = count = 0
            if not count:
                time.sleep(PAUSE_S)

    def _beat(self) -> None:
        """Keep the lease, and hear what is assigned, often enough."""
        if time.monotonic() - self._heard_s < LEASE_MS / 4_000:
            return
        try:
            self._assignment = self._calls.heartbeat()
        except NotFound:
            self._assignment = self._calls.register(LEASE_MS, "beginning")
        self._heard_s = time.monotonic()

    def _handle(self, partition: int, generation: int) -> int:
        """Read and commit one batch; return how many messages it had."""
        try:
            sent_ns = time.monotonic_ns()
            batch = self._calls.read(partition, generation, BATCH, 0)
            ids = ",".join(each.message_id for each in batch)
            where = f"{partition}|{generation}"
            self._note(f"read|{where}|{batch.start_offset}|{sent_ns}|{time.monotonic_ns()}|{ids}")
            if batch.end_offset > batch.start_offset:
                sent_ns = time.monotonic_ns()
                self._calls.commit(partition, generation, batch.end_offset)
                self._note(f"commit|{where}|{batch.end_offset}|{sent_ns}|{time.monotonic_ns()}")
        except (NotAssigned, InvalidOffset):
            self._heard_s = 0
            return 0
        return batch.count

    def _note(self, line: str) -> None:
        os.write(self._log, line.encode() + b"\n")


def main(arguments: Sequence[str]) -> None:
    url, name, file = arguments
    Member(url, name, Path(file)).run()


if __name__ == "__main__":
    main(sys.argv[1:])
