"""The whole broker with real threads on a real disk: what only happens when things run at once."""

import gc
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pykka
import pytest

from pandaq import Batch, Broker, Config, Message, TopicConfig
from pandaq.actors.crew import spawn_thread
from pandaq.actors.messages import Flush
from pandaq.actors.system import wall_clock_ms
from pandaq.errors import DataDirError, OutcomeUnknown, ShuttingDown
from pandaq.storage.disk import LocalDisk
from pandaq.storage.recovery import open_store
from tests.actors.stage import ALL, INGRESS_LOG, Clock, ids, ids_for, message, small_config
from tests.simulated_disk import SimulatedDisk

DEADLINE_S: Final = 20.0
LONG_S: Final = 60.0
"""Nothing that succeeds waits for so long."""

ACTORS: Final = {
    "Broker",
    "Ingress",
    "JournalKeeper",
    "Partition",
    "Registry",
    "Scheduler",
    "Topic",
}


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for a condition; fail where it does not come."""
    deadline = time.monotonic() + DEADLINE_S
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        pause.wait(0.002)


def actor_threads() -> list[str]:
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.split("-")[0] in ACTORS]


def no_actor_threads() -> bool:
    return not actor_threads()


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    wait_until(no_actor_threads)
    yield
    wait_until(no_actor_threads)
    assert not pykka.ActorRegistry.get_all()


def config_in(folder: Path, partitions: int = 3, **settings: Any) -> Config:
    return Config(
        topics=[TopicConfig("orders", partitions)],
        data_dir=folder / "data",
        **({"segment_bytes": 16_384, "interval_ms": 20} | settings),
    )


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return config_in(tmp_path)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(64) as pool:
        yield pool


@pytest.fixture
def broker(config: Config, pool: ThreadPoolExecutor) -> Iterator[Broker]:
    """A broker that stops before the pool waits for its threads, so that none waits for ever."""
    with Broker(config) as broker:
        yield broker


def routed_by_start(config: Config) -> int:
    """Return how many messages a start would find that the last run had left."""
    store = open_store(config, LocalDisk(), wall_clock_ms)
    store.close()
    return store.routed


def all_ids(broker: Broker) -> list[str]:
    return [id_ for number in range(3) for id_ in ids(broker.read("orders", number, ALL))]


def waiting(broker: Broker, number: int = 0) -> int:
    """Return how many wait for messages of a partition."""
    assert broker._crew
    return len(actor_of(broker._crew.partitions["orders"][number])._waiting)


def actor_of(ref: Any) -> Any:
    """Return the actor behind a reference, None where nothing holds it any more."""
    return ref._actor_weakref()


class TestManyAtOnce:
    def test_what_many_producers_send_many_consumers_get_once_and_in_order(
        self, broker: Broker, pool: ThreadPoolExecutor
    ) -> None:
        producers, each = 12, 60
        got: list[list[str]] = [[] for _ in range(3)]

        def produce(producer: int) -> None:
            for first in range(0, each, 6):
                sent = [message(f"{producer}-{number}") for number in range(first, first + 6)]
                broker.append("orders", sent[:1])
                broker.append("orders", sent[1:])

        def consume(_: int) -> None:
            consumer_id = f"consumer-{threading.get_ident()}"
            number = broker.register("orders", consumer_id).partition_id or 0
            while len(got[0]) + len(got[1]) + len(got[2]) < producers * each:
                batch = broker.read("orders", number, 7, wait_s=0.02)
                if batch.count:
                    broker.commit("orders", number, consumer_id, batch.end_offset)
                    got[number] += ids(batch)

        consumers = [pool.submit(consume, number) for number in range(3)]
        for future in [pool.submit(produce, number) for number in range(producers)]:
            future.result(LONG_S)
        for future in consumers:
            future.result(LONG_S)
        everything = [id_ for log in got for id_ in log]
        assert len(everything) == producers * each
        assert set(Counter(everything).values()) == {1}
        for log in got:
            for producer in range(producers):
                numbers = [int(id_.split("-")[1]) for id_ in log if id_.startswith(f"{producer}-")]
                assert numbers == sorted(numbers)

    def test_appends_that_wait_together_share_a_sync(
        self, tmp_path: Path, pool: ThreadPoolExecutor
    ) -> None:
        disk = SimulatedDisk()
        with Broker(small_config(), disk=disk, clock=Clock()) as broker:
            before = disk.syncs[INGRESS_LOG]
            barrier = threading.Barrier(64)

            def produce(producer: int) -> None:
                barrier.wait(LONG_S)
                broker.append("orders", [message(producer)])

            list(pool.map(produce, range(64)))
            assert disk.syncs[INGRESS_LOG] - before < 64

    def test_one_partition_has_one_consumer_however_many_register(
        self, broker: Broker, pool: ThreadPoolExecutor
    ) -> None:
        def register(number: int) -> int | None:
            try:
                return broker.register("orders", f"consumer-{number}").partition_id or 0
            except Exception:  # noqa: BLE001 (there are three partitions)
                return None

        given = [number for number in pool.map(register, range(20)) if number is not None]
        assert sorted(given) == [0, 1, 2]

    def test_of_commits_that_race_the_highest_holds(
        self, broker: Broker, pool: ThreadPoolExecutor
    ) -> None:
        broker.append("orders", [message(id_) for id_ in ids_for(0, 50, 3)])
        wait_until(lambda: broker.read("orders", 0, ALL).count == 50)

        def commit(offset: int) -> int:
            try:
                return broker.commit("orders", 0, "ann", offset).read
            except Exception:  # noqa: BLE001 (a higher one was first)
                return 0

        assert max(pool.map(commit, range(1, 51))) == 50
        assert broker.describe().topics[0].partitions[0].offsets.read == 50

    def test_every_description_is_right_while_all_goes_on(
        self, broker: Broker, pool: ThreadPoolExecutor
    ) -> None:
        over = threading.Event()

        def work(producer: int) -> None:
            for number in range(40):
                broker.append("orders", [message(f"{producer}-{number}")])
                batch = broker.read("orders", producer)
                broker.commit("orders", producer, f"consumer-{producer}", batch.end_offset)

        def look() -> None:
            while not over.is_set():
                description = broker.describe()
                for queue in [description.ingress, *description.topics[0].partitions]:
                    assert queue.offsets.log_end >= queue.offsets.read
                    assert queue.buffer_size <= queue.offsets.pending
                assert broker.problems() == []

        looking = pool.submit(look)
        for future in [pool.submit(work, number) for number in range(3)]:
            future.result(LONG_S)
        over.set()
        looking.result(LONG_S)


class TestWaiting:
    def test_a_waiting_read_is_answered_soon_after_the_append(
        self, broker: Broker, pool: ThreadPoolExecutor
    ) -> None:
        """The best of many, since the machine may be busy; without waking it would be seconds."""
        fastest = LONG_S
        for number, id_ in enumerate(ids_for(0, 20, 3), 1):
            read = pool.submit(broker.read, "orders", 0, ALL, LONG_S)
            wait_until(lambda: waiting(broker) == 1)
            begun_at = time.monotonic()
            broker.append("orders", [message(id_)])
            batch = read.result(LONG_S)
            fastest = min(fastest, time.monotonic() - begun_at)
            assert ids(batch) == [id_]
            broker.commit("orders", 0, "ann", number)
        assert fastest < 0.05

    def test_fifty_waiting_readers_are_woken_at_once(
        self, broker: Broker, pool: ThreadPoolExecutor
    ) -> None:
        reads = [pool.submit(broker.read, "orders", 0, ALL, LONG_S) for _ in range(50)]
        wait_until(lambda: waiting(broker) == 50)
        broker.wake_all()
        begun_at = time.monotonic()
        assert [read.result(LONG_S) for read in reads] == [Batch(0, 0, [])] * 50
        assert time.monotonic() - begun_at < 2
        assert broker.read("orders", 0, wait_s=LONG_S).count == 0

    def test_a_reader_that_goes_away_is_forgotten(self, broker: Broker) -> None:
        read = broker.begin_wait("orders", 0)
        wait_until(lambda: waiting(broker) == 1)
        read.end()
        assert read.reply.get(timeout=LONG_S).count == 0
        assert waiting(broker) == 0

    def test_a_stop_answers_those_who_wait(self, config: Config, pool: ThreadPoolExecutor) -> None:
        broker = Broker(config)
        broker.start()
        reads = [pool.submit(broker.read, "orders", 0, ALL, LONG_S) for _ in range(10)]
        wait_until(lambda: waiting(broker) == 10)
        broker.stop()
        for read in reads:
            assert read.result(LONG_S).count == 0

    def test_abandoning_answers_those_who_wait(
        self, config: Config, pool: ThreadPoolExecutor
    ) -> None:
        broker = Broker(config)
        broker.start()
        reads = [pool.submit(broker.read, "orders", 0, ALL, LONG_S) for _ in range(10)]
        wait_until(lambda: waiting(broker) == 10)
        broker.abandon()
        for read in reads:
            with pytest.raises(ShuttingDown):
                read.result(LONG_S)


class TestStopping:
    @pytest.mark.parametrize("way", ["stop", "abandon"])
    def test_an_end_while_producers_run_keeps_all_that_was_answered(
        self, tmp_path: Path, pool: ThreadPoolExecutor, way: str
    ) -> None:
        config = config_in(tmp_path, ask_timeout_ms=2_000)
        for round_ in range(3):
            broker = Broker(config)
            broker.start()
            answered: list[str] = []
            enough = threading.Semaphore(0)

            def produce(producer: str) -> None:
                for number in range(ALL):
                    id_ = f"{producer}-{number}"
                    try:
                        broker.append("orders", [message(id_)])  # noqa: B023 (ends with the round)
                    except (ShuttingDown, OutcomeUnknown):
                        return
                    answered.append(id_)  # noqa: B023
                    enough.release()  # noqa: B023

            producing = [pool.submit(produce, f"{round_}.{number}") for number in range(8)]
            for _ in range(50):
                assert enough.acquire(timeout=LONG_S)
            getattr(broker, way)()
            for future in producing:
                future.result(LONG_S)
            if way == "stop":
                assert routed_by_start(config) == 0
            with Broker(config) as after:
                there = Counter(all_ids(after))
            assert not [id_ for id_ in answered if there[id_] != 1]
            assert set(there.values()) == {1}

    def test_a_stop_while_consumers_run_keeps_every_commit_that_was_answered(
        self, config: Config, pool: ThreadPoolExecutor
    ) -> None:
        broker = Broker(config)
        broker.start()
        broker.append("orders", [message(id_) for id_ in ids_for(0, 500, 3)])
        committed = [0]
        enough = threading.Event()

        def consume() -> None:
            try:
                while True:
                    batch = broker.read("orders", 0, 1, wait_s=LONG_S)
                    committed.append(broker.commit("orders", 0, "ann", batch.end_offset).read)
                    if len(committed) == 20:
                        enough.set()
            except (ShuttingDown, OutcomeUnknown):
                pass

        consuming = pool.submit(consume)
        assert enough.wait(LONG_S)
        broker.stop()
        consuming.result(LONG_S)
        with Broker(config) as after:
            read = after.describe().topics[0].partitions[0].offsets.read
        assert committed[-1] <= read <= committed[-1] + 1

    def test_what_waits_for_its_flush_when_ingress_stops_is_told_at_once(
        self, config: Config
    ) -> None:
        """The flush is told to an actor that stops first."""
        with Broker(config) as broker:
            assert broker._crew
            ingress: Any = broker._crew.ingress
            told = threading.Event()
            actor = actor_of(ingress)
            actor._actor_ref = LosingRef(actor, told)
            begun_at = time.monotonic()
            with ThreadPoolExecutor(1) as pool:
                appending = pool.submit(broker.append, "orders", [message("a")])
                assert told.wait(LONG_S)
                ingress.stop()
                with pytest.raises(ShuttingDown):
                    appending.result(LONG_S)
            assert time.monotonic() - begun_at < config.ask_timeout_ms / 1000

    def test_a_stop_routes_all_and_the_next_start_has_nothing_to_route(
        self, config: Config
    ) -> None:
        for _ in range(5):
            broker = Broker(config)
            broker.start()
            broker.append("orders", [message(number) for number in range(3_000)])
            broker.stop()
            assert routed_by_start(config) == 0

    @pytest.mark.parametrize("settings", [{"interval_ms": 600_000}, {"cycle_gap_ms": 600_000}])
    def test_a_stop_does_not_wait_for_the_scheduler_to_wake(
        self, tmp_path: Path, settings: dict[str, int]
    ) -> None:
        config = config_in(tmp_path, **settings)
        broker = Broker(config)
        broker.start()
        assert broker._crew
        scheduler = actor_of(broker._crew.scheduler)
        wait_until(lambda: scheduler._arrival is not None)
        broker.append("orders", [message("a")])
        begun_at = time.monotonic()
        broker.stop()
        assert time.monotonic() - begun_at < config.stop_timeout_ms / 1000 / 2
        assert routed_by_start(config) == 0

    def test_two_stops_at_once_are_one(self, config: Config, pool: ThreadPoolExecutor) -> None:
        broker = Broker(config)
        broker.start()
        broker.append("orders", [message("a")])
        for future in [pool.submit(broker.stop) for _ in range(8)]:
            future.result(LONG_S)
        assert routed_by_start(config) == 0

    def test_starting_and_stopping_leaves_no_thread_and_no_file_open(self, config: Config) -> None:
        with Broker(config) as broker:
            broker.append("orders", [message(number, 200) for number in range(500)])
        wait_until(no_actor_threads)
        before = open_files()
        broker = Broker(config)
        for _ in range(10):
            broker.start()
            broker.append("orders", [message("a")])
            broker.stop()
        wait_until(no_actor_threads)
        assert open_files() == before

    def test_nothing_of_a_stopped_broker_is_kept(self, config: Config) -> None:
        broker = Broker(config)
        broker.start()
        assert broker._crew
        refs = list(broker._crew._actors.values())
        broker.stop()
        wait_until(no_actor_threads)
        gc.collect()
        assert [actor_of(ref) for ref in refs] == [None] * len(refs)


class LosingRef:
    """The reference that an actor has to itself, losing the first message that it is told."""

    def __init__(self, actor: Any, told: threading.Event) -> None:
        self._actor = actor
        self._ref = actor.actor_ref
        self._told = told

    def tell(self, message: Any) -> None:
        assert message == Flush()
        self._actor._actor_ref = self._ref
        self._told.set()


def open_files() -> int:
    """Return how many files this process has open, as far as the system tells."""
    if sys.platform != "linux":
        return 0
    return len(list(Path("/proc/self/fd").iterdir()))


class TestStarting:
    def test_the_example_of_an_embedding_program(self, tmp_path: Path) -> None:
        config = Config(topics=[TopicConfig("orders", 1)], data_dir=tmp_path / "data")
        with Broker(config) as broker:
            broker.append("orders", [Message.of("msg-001", {"amount": 99.99})])
            batch = broker.read("orders", 0, wait_s=LONG_S)
            assert batch.count == 1
            broker.commit("orders", 0, "consumer-1", batch.end_offset)
        with Broker(config) as broker:
            assert broker.read("orders", 0).count == 0
            assert broker.register("orders", "consumer-1").partition_id == 0

    def test_a_block_that_raises_stops_the_broker_too(self, config: Config) -> None:
        def fail(broker: Broker) -> None:
            broker.append("orders", [message("a")])
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError), Broker(config) as broker:
            fail(broker)
        assert routed_by_start(config) == 0

    @pytest.mark.parametrize("good", [0, 1, 4, 8])
    def test_a_start_that_fails_leaves_no_thread_and_no_lock(
        self, config: Config, good: int
    ) -> None:
        started: list[object] = []

        def spawn(actor_class: type[pykka.ThreadingActor], *args: Any) -> Any:
            if len(started) == good:
                raise RuntimeError("can't start new thread")
            started.append(actor_class)
            return spawn_thread(actor_class, *args)

        with pytest.raises(RuntimeError):
            Broker(config, spawn=spawn).start()
        wait_until(no_actor_threads)
        with Broker(config) as broker:
            broker.append("orders", [message("a")])

    def test_a_folder_in_use_is_refused_and_its_broker_goes_on(
        self, config: Config, broker: Broker
    ) -> None:
        threads = len(actor_threads())
        with pytest.raises(DataDirError):
            Broker(config).start()
        assert len(actor_threads()) == threads
        broker.append("orders", [message("a")])
        wait_until(lambda: all_ids(broker) == ["a"])


class TestFaults:
    def test_an_actor_that_dies_is_named(self, broker: Broker) -> None:
        assert broker._crew
        assert broker.dead_actors() == []
        broker._crew.partitions["orders"][1].tell("no message of ours")
        wait_until(lambda: broker.dead_actors() == ["partition 1 of orders"])
        (problem,) = broker.problems()
        assert "partition 1 of orders" in problem

    def test_without_its_ingress_nothing_hangs(self, broker: Broker) -> None:
        assert broker._crew
        broker._crew.ingress.tell("no message of ours")
        wait_until(lambda: "ingress" in broker.dead_actors())
        with pytest.raises(ShuttingDown):
            broker.append("orders", [message("a")])
        assert broker.read("orders", 0).count == 0

    def test_an_append_that_the_disk_holds_up_has_an_unknown_outcome_and_comes_once(
        self, pool: ThreadPoolExecutor
    ) -> None:
        disk, goes_on, held = SimulatedDisk(), threading.Event(), threading.Event()

        def hold(path: Path) -> bool:
            if path == INGRESS_LOG:
                held.set()
                assert goes_on.wait(LONG_S)
            return False

        config = small_config(ask_timeout_ms=100, interval_ms=20)
        with Broker(config, disk=disk, clock=Clock()) as broker:
            disk.fail("sync", hold)
            appending: Future[Any] = pool.submit(broker.append, "orders", [message("a")])
            assert held.wait(LONG_S)
            with pytest.raises(OutcomeUnknown):
                appending.result(LONG_S)
            goes_on.set()
            wait_until(lambda: all_ids_of(broker) == ["a"])
            broker.append("orders", [message("b")])
            wait_until(lambda: sorted(all_ids_of(broker)) == ["a", "b"])
            wait_until(lambda: broker.problems() == [])

    def test_the_arrivals_that_nobody_awaits_any_more_do_not_gather(self, broker: Broker) -> None:
        """The scheduler keeps the one it has."""
        assert broker._crew
        ingress = actor_of(broker._crew.ingress)
        for number in range(20):
            broker.append("orders", [message(number)])
        wait_until(lambda: len(all_ids(broker)) == 20)
        assert len(ingress._awaiting) <= 1


def all_ids_of(broker: Broker) -> list[str]:
    try:
        return [id_ for number in range(2) for id_ in ids(broker.read("orders", number, ALL))]
    except OutcomeUnknown:  # The disk is held up.
        return []
