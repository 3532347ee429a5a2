"""Whichever call of the disk fails, and however: nothing is lost, and clients hear the truth."""

import logging
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from pandaq.actors.system import System
from pandaq.storage.disk import File
from pandaq.web.app import App
from tests.actors.stage import INGRESS_LOG, Clock, small_config
from tests.crash import faults
from tests.crash.faults import Answer, Blow, Books, Broken, Tally, call, meet, survey
from tests.simulated_disk import SimulatedDisk, SimulatedFile

LONG_S: Final = 20.0
"""Nothing that succeeds waits for so long."""
AT: Final = ("events", 0)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "pandaq")


class TestEveryCall:
    @pytest.mark.parametrize("seed", [1, 2, 3, 4])
    def test_nothing_is_lost_doubled_or_moved_and_every_answer_is_true(self, seed: int) -> None:
        tally = survey(seed, rounds=2, every=7)
        assert not tally.failures, "\n".join(tally.failures)
        # Were the faults to miss, or a start to swallow them all, all would pass with nothing seen.
        assert tally.faults.total() > 150, str(tally)
        assert len(tally.faults) >= 8, str(tally)
        assert tally.codes["start refused"] > 20, tally.codes
        assert tally.codes["STORAGE_FAILED"] > 50, tally.codes
        assert tally.codes["STORAGE_FULL"] > 5, tally.codes
        assert tally.codes["restart"] > 1, tally.codes

    def test_a_broken_promise_is_told_with_what_replays_it(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def lose(_books: Books, at: object, _data: object) -> None:
            raise Broken("lost", f"all of {at}")

        monkeypatch.setattr(Books, "check_whole", lose)
        tally = Tally()
        meet(1, 2, Blow("write", 40, "EIO once"), tally)
        [failure] = tally.failures
        assert failure.startswith("seed 1, 2 rounds, Blow(operation='write', number=40, manner=")
        assert tally.broken == {"lost": 1}


class TestTheBooks:
    """Who checks has to be checked: each broken promise is noticed."""

    def books(self) -> Books:
        books = Books()
        for id_ in ("a", "b", "c"):
            books.produced("events", [id_], Answer(200, "", "", None))
        books.produced("events", ["full"], Answer(507, "STORAGE_FULL", "", None))
        books.produced("events", ["perhaps"], Answer(503, "STORAGE_FAILED", "", None))
        books.consumed(AT, served("ab"))
        return books

    @pytest.mark.parametrize("ids", [["a", "b", "c"], ["a", "b", "c", "perhaps"]])
    def test_what_was_promised_is_fine(self, ids: list[str]) -> None:
        self.books().check_whole(AT, served(ids))

    @pytest.mark.parametrize(
        ("ids", "kind"),
        [
            ("ab", "lost"),
            ("", "lost"),
            ("abb", "duplicated"),
            ("bac", "reordered"),
            (["a", "b", "perhaps", "c"], "reordered"),
            (["a", "b", "c", "full"], "reordered"),
            (["a", "b", "c", "nobody's"], "reordered"),
        ],
    )
    def test_what_was_not_is_told(self, ids: list[str] | str, kind: str) -> None:
        with pytest.raises(Broken, match=f"^{kind}: "):
            self.books().check_whole(AT, served(ids))

    def test_a_commit_may_not_be_lowered_or_invented(self) -> None:
        books = self.books()
        books.read[AT] = 1
        books.perhaps_read[AT] = 2
        books.consumed(AT, served("c", start=2))
        for start in (1, 3):
            with pytest.raises(Broken, match="readOffset"):
                books.consumed(AT, served("", start))


def served(ids: list[str] | str, start: int = 0) -> dict[str, object]:
    """Return what a consume answers."""
    messages = [{"messageId": id_, "offset": n} for n, id_ in enumerate(ids, start + 1)]
    return {"startOffset": start, "messages": messages}


def test_the_long_form_says_what_it_did_and_fails_with_what_replays_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--seed", "5", "--lives", "1", "--rounds", "1", "--every", "60"]
    monkeypatch.setattr(logging.getLogger("pandaq"), "level", logging.CRITICAL)
    assert faults.main(options) == 0
    line = capsys.readouterr().out.splitlines()[0]
    assert re.match(r"seed 5: 1 lives, \d+ faults \(\w+ \d+, .*\), 0 lost, 0 duplicated, ", line)

    monkeypatch.setattr(faults, "SAID_AT_A_CLOSED_FILE", "the disk")
    assert faults.main([*options, "--every", "20"]) == 1
    assert "seed 5, 1 rounds, Blow(operation=" in capsys.readouterr().out


class SlowFile:
    """A file whose sync takes as long as a test wants."""

    def __init__(self, file: SimulatedFile, disk: "SlowDisk") -> None:
        self._file = file
        self._disk = disk
        self.size, self.read, self.write = file.size, file.read, file.write
        self.truncate, self.close = file.truncate, file.close

    @property
    def path(self) -> Path:
        return self._file.path

    def sync(self) -> None:
        if self.path == INGRESS_LOG and not self._disk.goes_on.is_set():
            self._disk.is_held.set()
            assert self._disk.goes_on.wait(LONG_S)
        self._file.sync()


class SlowDisk(SimulatedDisk):
    """A disk that holds the syncs of the ingress log up while `goes_on` is not set."""

    def __init__(self) -> None:
        super().__init__()
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.is_held = threading.Event()

    def open(self, path: Path, *, create: bool = False, read_only: bool = False) -> File:  # type: ignore[override]
        return SlowFile(super().open(path, create=create, read_only=read_only), self)


class TestASlowDisk:
    def test_an_outcome_that_is_unknown_comes_to_be_known_and_comes_once(self) -> None:
        disk = SlowDisk()
        config = small_config(ask_timeout_ms=100, interval_ms=20)
        with System(config, disk=disk, clock=Clock()) as system, ThreadPoolExecutor(4) as pool:
            app = App(system)
            try:
                disk.goes_on.clear()
                first = pool.submit(produce, app, "first")
                assert disk.is_held.wait(LONG_S)
                assert first.result(LONG_S)[:2] == (503, "TIMEOUT")
                others = [pool.submit(produce, app, f"other-{number}") for number in range(3)]
                assert {other.result(LONG_S)[:2] for other in others} == {(503, "TIMEOUT")}
                held: Future[Answer] = pool.submit(call, app, "GET", "/health")
                assert held.result(LONG_S).status == 503
                assert system.dead_actors() == []
            finally:
                disk.goes_on.set()
            until(lambda: len(ids_of(app)) == 4)
            until(lambda: produce(app, "next").status == 200)
            until(lambda: len(ids_of(app)) == 5)
            until(lambda: call(app, "GET", "/health").status == 200)
        with System(config, disk=disk.power_loss_worst(), clock=Clock()) as system:
            ids = ids_of(App(system))
        assert ids[0] == "first"
        assert sorted(ids[1:4]) == ["other-0", "other-1", "other-2"]
        assert ids[4:] == ["next"]


def produce(app: App, id_: str) -> Answer:
    return call(app, "POST", "/ingress/events", {"message": {"messageId": id_, "content": 1}})


def ids_of(app: App) -> list[str]:
    answer = call(app, "GET", "/consume/broker_1/events/0?b=t")
    return [message["messageId"] for message in answer.data["messages"]] if answer.data else []


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition; fail where it does not come."""
    deadline = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        threading.Event().wait(0.005)
