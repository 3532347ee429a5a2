"""A broker that is killed again and again, and the ledger that watches it."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.crash.kills import Kills
from tests.crash.ledger import Kind, Ledger, Record, Status, message_id, partition_of

QUICK_ENDS: Final = ("load", "checkpoint", "segment", "stopping", "clean", "load", "load", "load")
PARTITIONS: Final = 2


def ids_of(partition: int) -> list[int]:
    """Return the numbers below 20 whose messages belong to a partition."""
    return [n for n in range(20) if partition_of(message_id(0, n), PARTITIONS) == partition]


def records(numbers: list[int], first: int = 1) -> list[Record]:
    """Return messages of the only producer at consecutive offsets."""
    return [Record(first + at, message_id(0, n), n) for at, n in enumerate(numbers)]


def told() -> Ledger:
    """A ledger of twenty acknowledged messages, of which partition 1 was read."""
    ledger = Ledger(1, PARTITIONS)
    ledger.answered(0, ledger.sending(0, 20), 20, Status.ACKNOWLEDGED)
    ledger.saw(1, 0, records(ids_of(1)))
    return ledger


def settle(ledger: Ledger) -> None:
    ledger.settle([len(ids_of(0)), len(ids_of(1))])


def lose(ledger: Ledger) -> None:
    ledger.saw(0, 0, records(ids_of(0)[:-1]))
    ledger.settle([len(ids_of(0)) - 1, len(ids_of(1))])


def duplicate(ledger: Ledger) -> None:
    ledger.saw(0, 0, records([*ids_of(0), ids_of(0)[-1]]))


def reorder(ledger: Ledger) -> None:
    first, second, *others = ids_of(0)
    ledger.saw(0, 0, records([second, first, *others]))


def leave_a_hole(ledger: Ledger) -> None:
    ledger.saw(0, 0, [records(ids_of(0))[0]])
    ledger.saw(0, 1, records(ids_of(0)[1:], first=3))


def stop_early(ledger: Ledger) -> None:
    ledger.saw(0, 0, records(ids_of(0)))
    ledger.settle([len(ids_of(0)) + 1, len(ids_of(1))])


def change(ledger: Ledger) -> None:
    ledger.saw(0, 0, records(ids_of(0)))
    ledger.saw(0, 1, records([ids_of(0)[2]], first=2))


def misplace(ledger: Ledger) -> None:
    first = ledger.sending(0, 20)
    number = next(n for n in range(first, 40) if not partition_of(message_id(0, n), PARTITIONS))
    end = len(ids_of(1))
    ledger.saw(1, end, [Record(end + 1, message_id(0, number), number)])


def invent(ledger: Ledger) -> None:
    ledger.saw(0, 0, [Record(1, message_id(0, 21), 21)])


def alter(ledger: Ledger) -> None:
    ledger.saw(0, 0, [Record(1, message_id(0, ids_of(0)[0]), "something else")])


def keep_what_was_refused(ledger: Ledger) -> None:
    first = ledger.sending(0, 1)
    ledger.answered(0, first, 1, Status.REFUSED)
    ledger.saw(0, 0, records(ids_of(0)))
    partition = partition_of(message_id(0, first), PARTITIONS)
    end = len(ids_of(partition))
    ledger.saw(partition, end, [Record(end + 1, message_id(0, first), first)])
    ledger.check_all()


def lower_a_commit(ledger: Ledger) -> None:
    ledger.committing(1, 3)
    ledger.committed(1, 3)
    ledger.check_offsets(1, 2, len(ids_of(1)))


def invent_a_commit(ledger: Ledger) -> None:
    ledger.committing(1, 3)
    ledger.check_offsets(1, 4, len(ids_of(1)))


def forget_the_end(ledger: Ledger) -> None:
    ledger.check_offsets(1, 0, len(ids_of(1)) - 1)


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        (lose, Kind.LOST),
        (forget_the_end, Kind.LOST),
        (duplicate, Kind.DUPLICATED),
        (reorder, Kind.REORDERED),
        (leave_a_hole, Kind.HOLE),
        (stop_early, Kind.HOLE),
        (change, Kind.CHANGED),
        (misplace, Kind.MISPLACED),
        (invent, Kind.FOREIGN),
        (alter, Kind.FOREIGN),
        (keep_what_was_refused, Kind.FOREIGN),
        (lower_a_commit, Kind.COMMIT_LOWERED),
        (invent_a_commit, Kind.COMMIT_INVENTED),
    ],
)
def test_the_ledger_notices_each_broken_promise(
    spoil: Callable[[Ledger], None], kind: Kind
) -> None:
    ledger = told()
    assert not ledger.violations
    spoil(ledger)
    assert ledger.by_kind() == {kind: 1}


def test_the_ledger_is_content_with_a_broker_that_keeps_its_promises() -> None:
    ledger = told()
    ledger.saw(0, 0, records(ids_of(0)))
    ledger.saw(0, 2, records(ids_of(0)[2:], first=3))  # A peek that comes again.
    first = ledger.sending(0, 5)  # Nobody hears of these.
    settle(ledger)
    ledger.committing(1, 2)
    ledger.check_offsets(1, 0, len(ids_of(1)))
    ledger.check_offsets(1, 2, len(ids_of(1)))
    ledger.check_all()
    assert not ledger.violations
    assert first == 20
    assert (ledger.total(Status.ACKNOWLEDGED), ledger.total(Status.UNKNOWN)) == (20, 5)


def test_a_message_that_comes_after_all_was_read_is_noticed() -> None:
    ledger = told()
    ledger.saw(0, 0, records(ids_of(0)))
    number = ledger.sending(0, 1)
    settle(ledger)
    partition = partition_of(message_id(0, number), PARTITIONS)
    end = len(ids_of(partition))
    ledger.saw(partition, end, [Record(end + 1, message_id(0, number), number)])
    assert ledger.by_kind() == {Kind.REORDERED: 1}


def test_nothing_that_was_answered_is_lost_doubled_or_moved_by_kills_at_any_moment(
    tmp_path: Path,
) -> None:
    loop = Kills(tmp_path, seed=1)
    for end in QUICK_ENDS:
        loop.round(0.5, end)
    loop.finish()
    assert not loop.ledger.violations, (loop.summary(), list(loop.ledger.violations)[:5])
    assert loop.kills.total() >= 7, loop.summary()
    assert loop.kills["load"] >= 4
    assert loop.ledger.total(Status.ACKNOWLEDGED) > 3_000, loop.summary()
    assert loop.ledger.total(Status.UNKNOWN) > 0, loop.summary()
    assert os.name != "posix" or loop.clean_stops > 0, loop.summary()


def test_members_that_share_are_killed_and_read_all(tmp_path: Path) -> None:
    loop = Kills(tmp_path, seed=2, members=2)
    for end in ("load", "clean", "load", "load"):
        loop.round(0.5, end)
    loop.finish()
    assert not loop.ledger.violations, (loop.summary(), list(loop.ledger.violations)[:5])
    read, again = loop.shared
    assert read - again >= loop.ledger.total(Status.ACKNOWLEDGED) > 0, loop.summary()
    assert loop.members.kills > 2, loop.summary()
