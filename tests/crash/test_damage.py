"""Whatever is spoiled on the disk: it is told, kept apart and mended, and costs no neighbour."""

import random

import pytest

from pandaq.storage.index import ENTRY_BYTES
from pandaq.storage.inspection import inspect, repair
from tests.crash.damage import CLOCK, Life, Spoiling, survey
from tests.storage.plain_broker import ALL, DATA, PlainBroker

SEALED = DATA / "topics" / "topic_events" / "partition_0.00000000000000000001.log"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_spoiled_files_are_told_and_mended_and_no_neighbour_is_lost(seed: int) -> None:
    tally = survey(seed)
    assert tally.spoiled > 400
    assert tally.told > 200
    assert tally.lost > 100
    expected = {"TPC.log", "config.log", "ingress_metadata.log", "ingress.log", "delayed.log"}
    assert expected <= tally.files
    assert any(name.endswith(".index") for name in tally.files)


def test_a_sound_directory_is_called_sound_and_its_messages_are_counted() -> None:
    life = Life(1)
    found = inspect(life.disk, DATA, None, CLOCK)
    assert found.is_sound
    assert found.messages + found.waiting == len(life.ids)


def test_a_deletion_that_a_kill_cut_short_is_no_damage() -> None:
    life = Life(1)
    image = life.disk.kill()
    broker = PlainBroker(image, life.config, CLOCK)
    image.fail("delete", "partition_0.*.log", error=_Stop())
    with pytest.raises(_Stop):
        broker.queue("events", 0).release(ALL)
    found = inspect(image.kill(), DATA, None, CLOCK)
    assert found.is_sound
    assert any("has been made anew" in str(note) for note in found.notes)


def test_a_loss_is_named_by_topic_partition_and_offsets_and_known_after_a_repair() -> None:
    life = Life(1)
    image = life.image([Spoiling(SEALED, "flip", 20, 1)], random.Random(1))
    assert image
    [loss] = inspect(image, DATA, None, CLOCK).lost
    assert str(loss).startswith("topic 'events', partition 0: offsets 1 to ")
    repair(image, DATA, None, CLOCK)
    after = inspect(image, DATA, None, CLOCK)
    assert after.is_sound
    assert after.known == [loss]


def test_an_index_whose_first_entry_is_another_one_costs_no_line() -> None:
    """The checkpoint's end is then in a hole of the index, though not of the log."""
    life = Life(125)
    index = DATA / "topics" / "topic_events" / "partition_0.00000000000000000019.index"
    image = life.disk.kill()
    entries = image.files()[index]
    assert len(entries) == 2 * ENTRY_BYTES
    image.corrupt(index, 0, entries[ENTRY_BYTES:])
    assert inspect(image, DATA, None, CLOCK).lost == []
    assert life.start(image).lines == life.lines


def test_a_repair_keeps_the_damaged_bytes_as_they_were() -> None:
    life = Life(1)
    image = life.image([Spoiling(SEALED, "flip", 20, 1)], random.Random(1))
    assert image
    [damage] = inspect(image, DATA, None, CLOCK).damage
    spoiled = image.files()[SEALED]
    repair(image, DATA, None, CLOCK)
    kept = DATA / "damaged" / "topic_events" / f"{SEALED.name}.offset-1.byte-0"
    assert image.files()[kept] == spoiled[: damage.length]  # type: ignore[union-attr]


def test_a_repair_that_is_cut_short_can_be_done_again() -> None:
    life = Life(1)
    spoilings = [Spoiling(SEALED, "flip", at, 1) for at in (20, 300)]
    for after in range(0, 4_000, 11):
        image = life.image(spoilings, random.Random(1))
        assert image
        fault = image.fail("*", after=after, error=_Stop())
        try:
            repair(image, DATA, None, CLOCK)
        except _Stop:
            image = image.crash(random.Random(after), entries_in_order=False)
            repair(image, DATA, None, CLOCK)
        image.heal()
        assert inspect(image, DATA, None, CLOCK).is_sound
        if not fault.hits:
            break
    else:
        pytest.fail("the repair never came to its end")


class _Stop(BaseException):
    """The moment at which a test ends the process."""
