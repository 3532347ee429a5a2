"""Row 1: single messages, against the least that the same web server does."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from bench.contender import PARTITIONS, TOPIC
from bench.rounds import Contender, alternate
from bench.row import Reach, Row, Skipped, place_of
from bench.setting import Setting
from bench.singles import client_name, posts_per_s
from pandaq.benchmark.posting import CONNECTIONS
from pandaq.benchmark.processes import BrokerProcess, ListeningProcess

SAYS: Final = "single messages over 32 connections, against bare Bottle and waitress that echo them"
ECHO_THREADS: Final = (4, 64)
"""What waitress has by default, and what the broker has; the echo gets whichever is faster."""
SECONDS: Final = 4.0
WARM_UP_S: Final = 1.0
PANDAQ: Final = "Panda-Q"

Start = Callable[[Path], ListeningProcess]


def measure(setting: Setting) -> Iterator[Row | Skipped]:
    """Yield the row `single`."""
    echoes = {_name(threads): _echo(threads) for threads in ECHO_THREADS}
    starts: dict[str, Start] = {PANDAQ: _broker, **echoes}
    rounds = alternate(
        setting, {name: _contender(setting, name, start) for name, start in starts.items()}
    )
    faster = max(echoes, key=lambda name: rounds.spread(name).median)
    yield Row(
        key="single",
        title=f"single messages, {CONNECTIONS} connections",
        unit="messages/s",
        value=rounds.spread(PANDAQ),
        against=faster,
        other=rounds.spread(faster),
        ratio=rounds.ratio(PANDAQ, faster),
        reach=Reach("ratio", "at least", 0.8),
        note=f"the load is from {client_name()}",
        place=place_of(setting, rounds),
    )


def _contender(setting: Setting, name: str, start: Start) -> Contender:
    def run(folder: Path) -> Mapping[str, float]:
        path = f"/ingress/{TOPIC}"
        with start(folder) as server:
            posts_per_s(server.url, path, setting.size(WARM_UP_S, 0.1), folder)
            return {name: posts_per_s(server.url, path, setting.size(SECONDS, 0.3), folder)}

    return run


def _broker(folder: Path) -> ListeningProcess:
    return BrokerProcess(folder, {TOPIC: PARTITIONS})


def _echo(threads: int) -> Start:
    return lambda folder: ListeningProcess(["-m", "bench.echo", str(threads)], folder)


def _name(threads: int) -> str:
    return f"Bottle on waitress, {threads} threads, that only decodes and echoes"
