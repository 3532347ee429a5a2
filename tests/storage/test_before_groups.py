"""A data directory of the release before groups opens unchanged, with all that it says."""

import shutil
from pathlib import Path
from typing import Final

import pytest

from pandaq import Broker, Caller, Config, Retention, TopicConfig
from pandaq.errors import NotAssigned
from pandaq.storage.disk import LocalDisk
from pandaq.storage.inspection import inspect

MADE_THEN: Final = Path(__file__).parent / "before_groups"
SMALL_FILES: Final = ("TPC.log", "config.log", "topics/topic_events/events_partition_metadata.log")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MADE_THEN, tmp_path / "data"))


def config(root: Path) -> Config:
    topics = [TopicConfig("orders", 2), TopicConfig("events", 1)]
    # Kept, however long ago they were appended.
    retention = Retention(max_age_ms=None)
    return Config(topics=topics, data_dir=root, segment_bytes=600, retention=retention)


def test_all_messages_offsets_and_consumers_are_there(root: Path) -> None:
    with Broker(config(root)) as broker:
        found = [
            record
            for number in (0, 1)
            for record in broker.read("orders", number, caller=Caller("new")).records()
        ]
        ids = [f"o|{n}" for n in range(30)]
        assert sorted(record.message_id for record in found) == sorted([*ids, "late"])
        texts = {record.message_id: record.value for record in found}
        assert texts["o|7"] == {"n": 7, "text": "a|b\nc"}
        orders, events = broker.describe().topics
        assert orders.consumers == {0: "ann", 1: "Büro 2"}
        assert events.consumers == {0: "carl"}
        assert [each.offsets.read for each in orders.partitions] == [4, 0]
        assert events.partitions[0].offsets.read == 2
        assert broker.register("orders", "Büro 2").partitions == [(1, 1)]
        assert broker.commit("orders", 0, "ann", 5, generation=1).read == 5
        with pytest.raises(NotAssigned):
            broker.commit("orders", 0, "eve", 6)


def test_what_nobody_used_of_the_new_is_not_in_its_files(root: Path) -> None:
    before = {name: (root / name).read_bytes() for name in SMALL_FILES}
    with Broker(config(root)):
        pass
    assert {name: (root / name).read_bytes() for name in SMALL_FILES} == before


def test_it_is_sound(root: Path) -> None:
    assert inspect(LocalDisk(), root, None, lambda: 0).is_sound
