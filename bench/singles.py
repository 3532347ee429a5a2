"""Single messages over 32 connections: from wrk where it is installed, else from our own client."""

import re
import subprocess
from pathlib import Path
from typing import Final

from bench.servers import program
from pandaq.benchmark.load import message
from pandaq.benchmark.posting import CONNECTIONS, post_for, single_bodies
from pandaq.errors import PandaqError

DIFFERENT: Final = 1000
"""Messages that differ; then they repeat."""
SCRIPT: Final = Path(__file__).with_name("wrk.lua")
TIMEOUT_S: Final = 10


class WrkFailed(PandaqError):
    """wrk saw answers that it should not, or said something that is no report."""

    def __init__(self, why: str, report: str) -> None:
        super().__init__(f"{why}; wrk said:\n{report.strip()}")
        self.report = report


def client_name() -> str:
    """Return what the load comes from."""
    return "wrk" if program("wrk") else "our own client"


def posts_per_s(url: str, path: str, seconds: float, folder: Path) -> float:
    """Post messages for a while; return how many were accepted per second.

    Raises `WrkFailed` or `NotAnswered` where any was not.
    """
    bodies = single_bodies([message(number) for number in range(DIFFERENT)])
    wrk = program("wrk")
    if wrk is None:
        return post_for(url, path, bodies, seconds).per_s
    lines = folder / "bodies.txt"
    lines.write_bytes(b"\n".join(bodies) + b"\n")
    load = ["-t1", f"-c{CONNECTIONS}", f"-d{max(round(seconds), 1)}s", f"--timeout={TIMEOUT_S}s"]
    done = subprocess.run(
        [wrk, *load, "-s", str(SCRIPT), url + path, "--", str(lines)],
        capture_output=True,
        text=True,
        timeout=seconds + 60,
        check=False,
    )
    return parse_wrk(done.stdout + done.stderr)


def parse_wrk(report: str) -> float:
    """Return the requests per second of wrk's report; raises `WrkFailed` unless all went well.

    >>> parse_wrk("Requests/sec:   2345.67")
    2345.67
    >>> parse_wrk("Non-2xx or 3xx responses: 12" + chr(10) + "Requests/sec: 9.0")
    Traceback (most recent call last):
    bench.singles.WrkFailed: 12 answers were no success; wrk said:...
    """
    if refused := re.search(r"Non-2xx or 3xx responses: (\d+)", report):
        raise WrkFailed(f"{refused[1]} answers were no success", report)
    if errors := re.search(r"Socket errors: (.*)", report):
        raise WrkFailed(f"there were socket errors: {errors[1]}", report)
    rate = re.search(r"Requests/sec:\s*([0-9.]+)", report)
    if not rate or not float(rate[1]):
        raise WrkFailed("nothing was answered", report)
    return float(rate[1])
