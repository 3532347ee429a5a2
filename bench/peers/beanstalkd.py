"""beanstalkd, synced at each job."""

import json
import time
from pathlib import Path
from typing import Any

from bench.peers import Load
from bench.servers import LOOPBACK, Server, free_port, missing, program, version_of


class Beanstalkd:
    """One tube; it knows no batches, so its jobs are put one by one."""

    name = "beanstalkd"

    def missing(self) -> str | None:
        """Return what to install, if anything."""
        return missing("beanstalkd", "beanstalkd", "greenstalk")

    def setting(self) -> str:
        """Return its version and when it syncs."""
        return f"beanstalkd {version_of('beanstalkd', '-v')}, synced at each job, no batches"

    def produce_per_s(self, folder: Path, load: Load) -> float:
        """Put jobs one after the other."""
        import greenstalk  # noqa: PLC0415

        port = free_port()
        command = [program("beanstalkd") or "", "-l", LOOPBACK, "-p", str(port)]
        with (
            Server([*command, "-b", str(folder), "-f", "0"], folder, port),
            greenstalk.Client((LOOPBACK, port)) as client,
        ):
            _put(client, load[:1])
            begin = time.perf_counter()
            _put(client, load)
            return sum(map(len, load)) / (time.perf_counter() - begin)


def _put(client: Any, load: Load) -> None:
    for batch in load:
        for message in batch:
            client.put(json.dumps(message))
