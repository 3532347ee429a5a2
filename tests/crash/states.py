"""Every state in which a crash may leave the disk, at every moment of a life.

A life is what a broker does to its disk: produces, routes, seals, checkpoints, commits, deletes,
registers, stops, ends and starts again. Before each call that changes the disk, images are made of
what a loss of power could leave there now, by the rules of `tests.simulated_disk`: what was not
synced is kept, dropped or torn at any byte, each write whatever became of the others, and names
are old or new where their folder was not synced. Where these are few, all of them are made; else a
sample by seed. A broker starts from each, and all that was promised must be true of it.

    >>> survey(1, lives=1, steps=2).moments > 50
    True
"""

import argparse
import logging
import random
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Final

from tests.simulated_disk import SimulatedDisk, every_crash
from tests.storage.plain_broker import PlainBroker, small_config
from tests.storage.test_recovery_properties import (
    CHANGES,
    DELETING,
    ENDS,
    TOPICS,
    Model,
    Run,
    Step,
    Stop,
    ended,
    random_step,
    stopping,
)

FEW: Final = 150
"""Of so many possible images at a moment, all are made."""
SAMPLES: Final = 16
"""How many are made where there are more."""
AGAIN: Final = 12
"""Of so many images, one is crashed again during its recovery or behind it."""
MOST_PARTITIONS: Final = 4
CALLS: Final = 250
"""Of the disk, about: a start, a look at all messages, and some more."""


@dataclass(slots=True)
class Survey:
    """What was looked at."""

    lives: int = 0
    moments: int = 0
    """At which images were made."""
    enumerated: int = 0
    """Moments of which every image was made."""
    images: int = 0
    distinct: int = 0
    """Images that differ in a file, or in what was promised by then: each was recovered."""
    again: int = 0
    """Of the distinct ones, those left by a crash during the recovery of another, or behind it."""


class PromiseBroken(BaseException):
    """What a start made of an image; names the moment that it is an image of.

    Not an `Exception`: the broker whose call is interrupted by it must not try to mend it.
    """

    def __init__(self, seed: str, moment: int, error: Exception) -> None:
        seed, life = seed.split("/")
        super().__init__(f"seed {seed}, life {life}, moment {moment}: {error!r}")
        self.moment = moment


class Life(Run):
    """A run that stops before each of its changes to look at what a crash would leave."""

    def __init__(self, seed: int, number: int, survey: Survey, only: int = 0) -> None:
        self._seed = f"{seed}/{number}"
        self._choices = random.Random(self._seed)
        self._survey = survey
        self._only = only
        self._known: set[bytes] = set()
        self._before = b""
        self._calls_left: int | None = None
        self._stopped = False
        self.moment = 0
        config = small_config(
            TOPICS,
            segment_bytes=self._choices.choice([256, 320, 600]),
            tail_bytes=self._choices.choice([0, 1_000_000]),
            retention=DELETING,
        )
        super().__init__(config, self._watched(SimulatedDisk()))
        self.model.check(self.broker, self.counts)

    def live(self, steps: int) -> None:
        """Do so many steps, then stop."""
        try:
            for _ in range(steps):
                self.do(random_step(self._choices))
            self.close()
        except Exception as error:
            raise PromiseBroken(self._seed, self.moment, error) from error
        self._survey.lives += 1

    def do(self, step: Step) -> None:
        self.clock.now_ms += step.number % 3
        self._calls_left = step.stop_after
        try:
            self.act(step)
        except Stop:
            self.start_again(step)
        else:
            self._calls_left = None
            if step.action == "end":
                self.start_again(step)

    def start_again(self, step: Step) -> None:
        self._calls_left, self._stopped = None, False
        self.disk.heal()
        self.disk = self._watched(ended(self.disk, step.end, step.number))
        if step.grow and self.counts[-1] < MOST_PARTITIONS:
            self.counts.append(self.counts[-1] + 1)
            self.config = small_config(
                {"orders": self.counts[-1], "events": 1},
                segment_bytes=self.config.segment_bytes,
                tail_bytes=self.config.tail_bytes,
                retention=self.config.retention,
            )
        self.broker = PlainBroker(self.disk, self.config, self.clock)
        self.model.check(self.broker, self.counts)

    def _watched(self, disk: SimulatedDisk) -> SimulatedDisk:
        for operation in CHANGES:
            disk.fail(operation, self._pause)
        return disk

    def _pause(self, _path: Path) -> bool:
        """Look at the moment before a call, and end the process there where its time has come."""
        if self._calls_left is not None:
            self._stopped = self._stopped or self._calls_left <= 0
            self._calls_left -= 1
        if self._stopped:
            raise Stop
        self.moment += 1
        if self._only in (0, self.moment):
            try:
                self._look(random.Random(f"{self._seed}/{self.moment}"))
            except Exception as error:
                raise PromiseBroken(self._seed, self.moment, error) from error
        return False

    def _look(self, choices: random.Random) -> None:
        promised = promises(self.model, self.counts)
        images = Images(self.disk, choices)
        state = digest(self.disk, promised + images.signature)
        if state == self._before:  # The call before was an open, or half of a replace.
            return
        self._before = state
        self._survey.moments += 1
        self._survey.enumerated += images.are_few
        # What a kill leaves is still there for a crash to take, once a start has shown it.
        self._crash_again(self.disk.kill(), promised, choices)
        for image in images.make():
            self._survey.images += 1
            if choices.randrange(AGAIN) == 0:
                self._crash_again(image, promised, choices)
            elif self._is_new(image, promised):
                self._recover(image, copied(self.model))

    def _is_new(self, image: SimulatedDisk, promised: bytes) -> bool:
        key = digest(image, promised)
        if key in self._known:
            return False
        self._known.add(key)
        self._survey.distinct += 1
        return True

    def _recover(self, image: SimulatedDisk, model: Model) -> None:
        broker = PlainBroker(image, self.config, self.clock)
        model.check(broker, self.counts)
        broker.store.close()
        assert not image.open_files
        assert not image.held_locks

    def _crash_again(self, image: SimulatedDisk, promised: bytes, choices: random.Random) -> None:
        """Start from the image, go on until the process ends, and recover what that leaves."""
        model = copied(self.model)
        with stopping(image, choices.randint(0, CALLS), 1):
            run = Run(self.config, image)
            run.model, run.counts = model, self.counts
            model.check(run.broker, self.counts)
            run.produce("orders", 2, choices.randint(0, 90))
            run.broker.route()
            run.produce("events", 1, 5)
        image = ended(image, choices.choice(ENDS), choices.randint(0, 1_000_000))
        self._survey.images += 1
        if self._is_new(image, promised + promises(model, self.counts)):
            self._survey.again += 1
            self._recover(image, model)


class Images:
    """The images that a crash may leave of a disk as it is now."""

    def __init__(self, disk: SimulatedDisk, choices: random.Random) -> None:
        self._disk = disk
        self._choices = choices
        measured = _Measure()
        disk.crash(measured, entries_in_order=False)
        self._asked = len(measured.asked)
        self.are_few = measured.images <= FEW
        self.signature = repr(measured.asked).encode()
        """Changes with what is unsynced."""

    def make(self) -> Iterator[SimulatedDisk]:
        """Yield all where they are few, else the extremes and a sample."""
        if self.are_few:
            # Any order includes the order in which it was done.
            yield from islice(every_crash(self._disk, entries_in_order=False), 4 * FEW)
            return
        yield self._disk.power_loss_worst()
        yield self._disk.kill()
        kinds: list[Callable[[], SimulatedDisk]] = [
            partial(self._disk.crash, self._choices),
            partial(self._disk.crash, self._choices, entries_in_order=False),
            partial(self._near, keep=True),
            partial(self._near, keep=False),
        ]
        for number in range(SAMPLES):
            yield kinds[number % len(kinds)]()

    def _near(self, *, keep: bool) -> SimulatedDisk:
        """Return an image that has all, or none, of what was unsynced, save for one operation."""
        near = _Near(self._choices, self._choices.randrange(self._asked), keep=keep)
        return self._disk.crash(near, entries_in_order=False)


class _Measure:
    """Choices that count how many there are: of a crash, one image for each."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.images = 1

    def randint(self, a: int, b: int) -> int:
        self.asked.append(b)
        # Two of the four fates of a write tear it, each at any of so many bytes.
        self.images = self.images * (b + 1) // 2 if a == 1 else self.images * (b + 1)
        return 1 if b == 3 else a


class _Near:
    """Choices that are all the lowest, or all the highest, save for one."""

    def __init__(self, choices: random.Random, other: int, *, keep: bool) -> None:
        self._choices = choices
        self._other = other
        self._keep = keep

    def randint(self, a: int, b: int) -> int:
        self._other -= 1
        if self._other == -1 or a == 1:
            return self._choices.randint(a, b)
        return a if self._keep else b


def digest(disk: SimulatedDisk, more: bytes = b"") -> bytes:
    """Return a hash of all files, and of more."""
    hashed = blake2b(more, digest_size=16)
    for path, data in disk.files().items():
        hashed.update(b"%b|%d|%b" % (str(path).encode(), len(data), data))
    return hashed.digest()


def promises(model: Model, counts: list[int]) -> bytes:
    """Return what tells a model from what it was and will be."""
    facts = (counts, model.deleted, model.seen, model.read, model.assignments)
    return repr((len(model.produced), sorted(model.acknowledged), facts)).encode()


def copied(model: Model) -> Model:
    """Return a model that goes its own way; copies no deeper than a model changes."""
    return Model(
        list(model.produced),
        set(model.acknowledged),
        set(model.ingress_offsets),
        {partition: dict(seen) for partition, seen in model.seen.items()},
        dict(model.deleted),
        dict(model.read),
        list(model.assignments),
    )


def survey(seed: int, *, lives: int, steps: int) -> Survey:
    """Live so many lives; the same ones for the same seed. Raises `PromiseBroken`."""
    found = Survey()
    for number in range(lives):
        Life(seed, number, found).live(steps)
    return found


def main(arguments: Sequence[str]) -> int:
    """Run the long form; see `tests.crash.__main__`."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash states")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lives", type=int, default=12)
    parser.add_argument("--first", type=int, default=0, help="number of the first life")
    parser.add_argument("--steps", type=int, default=30, help="of each life")
    parser.add_argument("--moment", type=int, default=0, help="the only one to look at")
    options = parser.parse_args(arguments)
    # What a start puts right is logged, and here every start has something.
    logging.getLogger("pandaq").setLevel(logging.CRITICAL)
    found = Survey()
    for number in range(options.first, options.first + options.lives):
        try:
            Life(options.seed, number, found, options.moment).live(options.steps)
        except PromiseBroken as broken:
            traceback.print_exception(broken)
            replay = f"--seed {options.seed} --first {number} --lives 1 --moment {broken.moment}"
            print(f"again: states {replay} --steps {options.steps}")
            return 1
        print(f"life {number}: {found.moments} moments, {found.distinct} images so far", flush=True)
    print(
        f"seed {options.seed}: {found.lives} lives, {found.moments} moments "
        f"({found.enumerated} in full), {found.images} images, {found.distinct} distinct "
        f"({found.again} crashed again); lost 0, duplicated 0, reordered 0, commits lowered 0"
    )
    return 0
