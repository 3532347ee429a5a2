"""Row 8: what a broker costs that has nothing to do but waiting consumers."""

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from bench import memory
from bench.contender import TOPIC
from bench.rounds import alternate
from bench.row import Reach, Row, Skipped, place_of
from bench.setting import Setting
from pandaq.benchmark.processes import STOP_S, BrokerProcess, child_environment

SAYS: Final = "CPU time of a broker with 100 partitions and 50 consumers that wait for nothing"
PARTITIONS: Final = 100
WAITING: Final = 50
SECONDS: Final = 30.0
SETTLE_S: Final = 3.0
NOBODY: Final = "nobody waits"
WAITERS: Final = f"{WAITING} consumers wait"


def measure(setting: Setting) -> Iterator[Row | Skipped]:
    """Yield the row `idle`."""
    if sentence := memory.missing():
        yield Skipped("idle", sentence)
        return
    rounds = alternate(
        setting, {NOBODY: partial(_alone, setting), WAITERS: partial(_waited_on, setting)}
    )
    yield Row(
        key="idle",
        title=f"idle, {PARTITIONS} partitions, {WAITERS}",
        unit="% of a core",
        value=rounds.spread(WAITERS),
        against=f"the same where {NOBODY}",
        other=rounds.spread(NOBODY),
        reach=Reach("value", "at most", 1.0, "%"),
        place=place_of(setting, rounds),
    )


def _alone(setting: Setting, folder: Path) -> Mapping[str, float]:
    with BrokerProcess(folder, {TOPIC: PARTITIONS}) as broker:
        broker.first_answer_s()
        return {NOBODY: _percent_of_a_core(setting, broker)}


def _waited_on(setting: Setting, folder: Path) -> Mapping[str, float]:
    with BrokerProcess(folder, {TOPIC: PARTITIONS}) as broker:
        command = [sys.executable, "-m", "bench.waiters", broker.url, TOPIC, str(WAITING)]
        with subprocess.Popen(command, env=child_environment(), stdout=subprocess.PIPE) as waiters:
            try:
                assert waiters.stdout
                waiters.stdout.readline()
                return {WAITERS: _percent_of_a_core(setting, broker)}
            finally:
                waiters.kill()
                waiters.wait(STOP_S)


def _percent_of_a_core(setting: Setting, broker: BrokerProcess) -> float:
    time.sleep(setting.size(SETTLE_S, 0.1))
    begin, spent_s = time.perf_counter(), memory.cpu_s(broker.pid)
    time.sleep(setting.size(SECONDS, 0.5))
    return (memory.cpu_s(broker.pid) - spent_s) / (time.perf_counter() - begin) * 100
