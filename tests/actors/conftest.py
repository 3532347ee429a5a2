"""A simulated disk, a clock, and a store that was opened there."""

from collections.abc import Iterator

import pytest

from pandaq.storage.recovery import open_store
from pandaq.storage.store import Store
from tests.actors.stage import Clock, small_config
from tests.simulated_disk import SimulatedDisk


@pytest.fixture
def disk() -> SimulatedDisk:
    return SimulatedDisk()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(disk: SimulatedDisk, clock: Clock) -> Iterator[Store]:
    store = open_store(small_config(), disk, clock)
    yield store
    store.close()
