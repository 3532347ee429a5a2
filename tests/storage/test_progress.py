"""A long start says how far it is; a short one says nothing."""

import logging

import pytest

from pandaq.storage import progress as progress_module
from pandaq.storage.progress import FIRST_S, INTERVAL_S, Progress
from tests.actors.stage import FakeTime
from tests.simulated_disk import SimulatedDisk
from tests.storage.plain_broker import PlainBroker, small_config


def test_it_speaks_only_now_and_then(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    clock = FakeTime()
    monkeypatch.setattr(progress_module, "time", clock)
    progress = Progress("reading, bytes", 200)
    progress.at(1)
    clock.sleep(FIRST_S)
    progress.at(50)
    progress.at(60)
    clock.sleep(INTERVAL_S)
    progress.at(100)
    assert caplog.messages == [
        "reading, bytes: 50 of 200 (25 %)",
        "reading, bytes: 100 of 200 (50 %)",
    ]


def test_a_start_that_routes_much_again_says_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    disk = SimulatedDisk()
    broker = PlainBroker(disk, small_config())
    broker.produce("orders", *(str(number) for number in range(50)))
    broker.store.close()
    monkeypatch.setattr(progress_module, "FIRST_S", 0)
    monkeypatch.setattr(progress_module, "INTERVAL_S", 0)
    caplog.set_level(logging.INFO)
    PlainBroker(disk.kill(), small_config())
    assert "opening partitions: 2 of 3 (66 %)" in caplog.messages
    assert "routing what /data/ingress.log holds, messages: 0 of 50 (0 %)" in caplog.messages
