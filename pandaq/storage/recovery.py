"""What is done between the end of one run and the first request of the next.

1. Lock the directory; read config.log, TPC.log and the checkpoint.
2. Open the ingress log: what a crash tore off its end was never acknowledged and is cut.
3. Open each partition log and cut it back to the end that the checkpoint names, but for one that
   has what the ingress log has no more.
4. Route what stands in the ingress log behind the checkpoint's readOffset. Routing is a pure
   function and order is kept, so every message gets the offset that it had.
   What is delayed goes to the delay log, which is cut back likewise.
5. Write a checkpoint, so that the next start need not do this again.
6. Make the topics what the configuration says. Not before: routed again with more partitions,
   messages would not go where they were.

A crash at any point here loses nothing: until step 5 is durable, the next start begins at 1 with
the same files. Reading grows with what stands behind the checkpoint, not with the backlog.

Where the checkpoint is missing or damaged, the partitions stay as they are and the whole ingress
log is routed again: messages may then come twice, and none is lost.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pandaq.config import Config
from pandaq.dedupe import SeenIds
from pandaq.errors import DataDirError, StorageFull, Unavailable
from pandaq.ids import dead_letters_of
from pandaq.offsets import Offsets
from pandaq.records import LineFormat
from pandaq.retention import expired_through
from pandaq.settings import SettingError
from pandaq.storage.checkpoint import Checkpoint, read_checkpoint
from pandaq.storage.config_log import read_config_log, write_config_log
from pandaq.storage.datadir import DataDir
from pandaq.storage.delayed import KEY, Delayed
from pandaq.storage.disk import NO_ROOM, Disk
from pandaq.storage.findings import Damage, Finding, Missing, Note, TailCut
from pandaq.storage.journal import Journal, group_key, key_of_partition, partition_key
from pandaq.storage.log import Clock, Log
from pandaq.storage.progress import Progress
from pandaq.storage.queue import Queue
from pandaq.storage.redo import Redo, keep_damage
from pandaq.storage.seen import needless, read_seen
from pandaq.storage.store import AssignmentLog, Checkpoints, Store, TopicLog, TopicStore
from pandaq.storage.tail import DELAYED, Partition, Tail, forecast
from pandaq.storage.tpc_log import Assignment, read_tpc_log, write_tpc_log


def open_store(config: Config, disk: Disk, clock: Clock) -> Store:
    """Open the data directory, recover it, and make its topics what the configuration says.

    Raises `ConfigError` where the configuration would lose data, `DataDirError` where the directory
    cannot be used, and leaves nothing open then.
    """
    datadir = DataDir(disk, config.data_dir, config.ingress_log)
    try:
        try:
            return _recover(config, disk, clock, datadir)
        except StorageFull:
            # There may be room now; the second try tells where there is none.
            return _recover(config, disk, clock, datadir)
    except StorageFull as error:
        raise DataDirError(
            f"there is no room to recover {datadir.root}; make room, then start again"
        ) from error
    except (OSError, Unavailable) as error:
        raise DataDirError(f"{datadir.root} cannot be recovered: {error}") from error


def _recover(config: Config, disk: Disk, clock: Clock, datadir: DataDir) -> Store:
    """Recover once; where that finds the disk full, make the room that retention allows."""
    datadir.acquire()
    recovery = _Recovery(config, disk, clock, datadir)
    try:
        return recovery.run()
    except (StorageFull, OSError) as error:
        if isinstance(error, OSError) and error.errno not in NO_ROOM:
            raise
        recovery.make_room()
        raise StorageFull(datadir.root) from error
    finally:
        if not recovery.is_done:
            recovery.abandon()


class _Recovery:
    """The steps, and what they have opened so far."""

    def __init__(self, config: Config, disk: Disk, clock: Clock, datadir: DataDir) -> None:
        self._config = config
        self._disk = disk
        self._clock = clock
        self._datadir = datadir
        self.is_done = False
        self._topics: dict[str, int] = {}
        self._checkpoint: Checkpoint | None = None
        self._ingress: Log | None = None
        self._delayed: Delayed | None = None
        self._coming: Mapping[Partition, int] = {}
        """How many messages come to each partition before the ingress log lacks any."""
        self._logs: dict[Partition, Log] = {}
        self._opening = Progress("opening partitions", 0)
        self._tails: dict[Partition, Tail] = {}
        self._journals: dict[str, Journal] = {}
        self._findings: list[Finding] = []

    def run(self) -> Store:
        """Do all steps in order."""
        self._wipe_if_asked()
        # A run that was killed may have put a file in place and not made that durable: what is gone
        # by has to stay.
        self._disk.sync_folder(self._datadir.root)
        self._topics = self._read_topics()
        checkpoint = self._checkpoint = self._read_checkpoint()
        ingress = self._open_ingress(checkpoint)
        first = checkpoint.ingress.read + 1 if checkpoint else ingress.start
        self._coming = forecast(ingress, self._topics, first)
        self._opening = Progress("opening partitions", sum(self._topics.values()))
        for topic_id, partitions in self._topics.items():
            self._open_topic(topic_id, range(partitions), checkpoint)
        delayed = self._delayed = self._open_delayed(checkpoint)
        redo = Redo(
            ingress,
            delayed,
            self._topics,
            self._logs,
            self._tails,
            self._highest_read,
            self._datadir,
            self._findings,
        )
        routed = redo.run(first)
        self._pass_over_lost()
        seen = read_seen(ingress, self._config, self._clock())
        checkpoints = self._write_checkpoint(ingress, delayed)
        topics = self._configure(self._topics)
        store = self._store(topics, ingress, seen, delayed, checkpoints, routed)
        self.is_done = True
        return store

    def make_room(self) -> None:
        """Delete what is needless up to the checkpoint: routed, or committed and not kept."""
        if not self._checkpoint:
            return
        if self._ingress:
            routed = self._checkpoint.ingress.read
            self._ingress.release(needless(self._ingress, routed, self._config, self._clock()))
        retentions = {topic.id: topic.retention for topic in self._config.topics}
        for (topic_id, partition_id), log in self._logs.items():
            end = self._checkpoint.end_of(partition_key(topic_id, partition_id))
            reads = self._journals[topic_id].groups_of(partition_key(topic_id, partition_id))
            own = self._read_offset(topic_id, partition_id)
            done = min(end, own, *(each.read for each in reads.values()))
            if topic_id in retentions:
                retention, now_ms = retentions[topic_id], self._clock()
                through = expired_through(log.sealed(), log.active_bytes, done, retention, now_ms)
                log.release(min(through, done))

    def abandon(self) -> None:
        """Close all that was opened."""
        delay_log = None if self._delayed is None else self._delayed.log
        for opened in (self._ingress, delay_log, *self._logs.values(), *self._journals.values()):
            if opened:
                opened.close()
        self._datadir.release()

    # -- 1: what the small files say

    def _wipe_if_asked(self) -> None:
        root = self._datadir.root
        if self._config.reboot:
            self._found(Note(root, "reboot is on: all data of the broker has been deleted"))
        elif self._datadir.wipe_was_interrupted:
            self._found(Note(root, "a deletion of all data was interrupted and has been ended"))
        else:
            return
        self._datadir.wipe()

    def _read_topics(self) -> dict[str, int]:
        path = self._datadir.config_log
        topics = read_config_log(self._disk, path)
        if topics is None:
            topics = self._datadir.topics_on_disk()
            if topics or self._disk.exists(path):
                text = "missing or damaged; made anew from the topics' folders"
                self._found(Note(path, text, is_damage=True))
            # From here on the folder is known as a data directory, whatever happens.
            write_config_log(self._disk, path, topics)
        return topics

    def _read_checkpoint(self) -> Checkpoint | None:
        path = self._datadir.checkpoint
        checkpoint = read_checkpoint(self._disk, path)
        if checkpoint is None and (self._topics or self._disk.exists(path)):
            text = "missing or damaged; all that ingress.log has is routed again, so messages may "
            self._found(Note(path, text + "come twice", is_damage=True))
        return checkpoint

    def _read_assignments(self) -> list[Assignment]:
        path = self._datadir.tpc_log
        assignments = read_tpc_log(self._disk, path)
        if assignments is None:
            self._found(Note(path, "damaged; consumers have to register again", is_damage=True))
            write_tpc_log(self._disk, path, [])
            return []
        return [
            each for each in assignments if (each.topic_id, each.partition_id or 0) in self._logs
        ]

    # -- 2, 3: the logs

    def _open_ingress(self, checkpoint: Checkpoint | None) -> Log:
        path = self._datadir.ingress_log
        routed, end = 0, 0
        if checkpoint:
            routed, end = checkpoint.ingress.read, checkpoint.ingress.log_end
        if end and not self._datadir.has_ingress_log():
            raise DataDirError(
                f"the write-ahead log {path} is missing, though {self._datadir.checkpoint} says "
                f"that it holds {end} messages; put it back (INGRESS_LOG_FILE), or delete "
                "that file to start without the messages that were not yet routed"
            )
        ingress = self._ingress = self._open_log(path, LineFormat.ingress(self._config.broker_id))
        keep_damage(ingress, routed, self._datadir, self._findings)
        ingress.cut(ingress.end)  # What is no line behind it has been set aside.
        if ingress.end < end:
            if routed < end:
                self._found(Missing(path, max(ingress.end, routed) + 1, end))
            ingress.skip(end)
        return ingress

    def _open_topic(
        self, topic_id: str, partition_ids: range, checkpoint: Checkpoint | None
    ) -> None:
        self._disk.make_folder(self._datadir.topic_folder(topic_id))
        journal = self._journals.get(topic_id)
        if journal is None:
            journal = Journal(self._disk, self._datadir.offsets_file(topic_id))
            self._journals[topic_id] = journal
            self._findings += journal.findings
            self._restore_commits(topic_id, journal, partition_ids)
        for partition_id in partition_ids:
            self._opening.at(len(self._logs))
            path = self._datadir.partition_log(topic_id, partition_id)
            log = self._open_log(path, LineFormat.partition(topic_id, partition_id))
            self._logs[topic_id, partition_id] = log
            # Without a checkpoint at least behind what is committed, or nobody would see it.
            end = max(log.end, self._highest_read(topic_id, partition_id))
            if checkpoint:
                end = checkpoint.end_of(partition_key(topic_id, partition_id))
                if self._has_more(log, end, (topic_id, partition_id)):
                    self._tails[topic_id, partition_id] = Tail(log, end)
                    end = max(end, log.end)
            # What stands behind the checkpoint comes again, so it is no matter how it looks.
            self._findings += [
                finding
                for finding in log.take_findings()
                if isinstance(finding, Note)
                or (isinstance(finding, Damage | Missing) and finding.first <= end)
                # Bytes behind the last line of a sealed segment hold no offset of their own.
                or (
                    isinstance(finding, Damage)
                    and finding.path != path
                    and finding.first == end + 1
                )
            ]
            if checkpoint:
                log.cut(end)
            self._pass_over(log, end)
        if journal.is_new and any(self._logs[topic_id, number].end for number in partition_ids):
            where = "where the checkpoint has them" if self._checkpoint else "their start"
            text = f"missing; its partitions are read from {where}"
            self._found(Note(journal.path, text, is_damage=True))

    def _restore_commits(self, topic_id: str, journal: Journal, partition_ids: range) -> None:
        """Let no offsets be older than those of the checkpoint: those were written before.

        A group that the file does not know was deleted, unless the file has lost something.
        """
        known = self._checkpoint.partitions if self._checkpoint else {}
        partitions = {partition_key(topic_id, number): number for number in partition_ids}
        has_lost = journal.is_new or bool(journal.findings)
        for key, offsets in known.items():
            number = partitions.get(key_of_partition(key))
            is_deleted = key not in journal.offsets and key not in partitions and not has_lost
            if number is None or is_deleted:
                continue
            before = journal.offsets.get(key, Offsets())
            if (before.seeks, before.read) < (offsets.seeks, offsets.read):
                text = f"says {before.read} for partition {number}; the checkpoint has it read "
                self._found(Note(journal.path, f"{text}up to {offsets.read}", is_damage=True))
                journal.record({key: offsets})

    def _has_more(self, log: Log, end: int, partition: Partition) -> bool:
        """Tell whether a log may have messages behind `end` that will not come again."""
        topic_id, partition_id = partition
        if partition_id >= self._topics.get(topic_id, 0):
            return False  # It is about to be made; whatever is there is nobody's.
        return log.end > end + self._coming.get(partition, 0)

    def _open_delayed(self, checkpoint: Checkpoint | None) -> Delayed:
        """Open the delay log and cut it back, but where the ingress log would give less again."""
        path = self._datadir.delayed_log
        log = self._open_log(path, LineFormat.ingress(self._config.broker_id))
        try:
            end = log.end
            if checkpoint:
                end = checkpoint.end_of(KEY)
                if log.end > end + self._coming.get(DELAYED, 0):
                    self._tails[DELAYED] = Tail(log, end)
                else:
                    log.cut(end)
                self._pass_over(log, end)
            delayed = Delayed(log)
            self._mend(log, delayed.damaged, end)
        except BaseException:
            log.close()
            raise
        return delayed

    def _mend(self, log: Log, damaged: Sequence[Damage], end: int) -> None:
        """Tell of what is damaged, set it aside and make holes of it, durably.

        What is missing behind `end` comes again, and is no matter.
        """
        found = [*log.take_findings(), *damaged]
        self._findings += [
            each
            for each in found
            if isinstance(each, Note | TailCut) or (isinstance(each, Missing) and each.first <= end)
        ]
        damages = [
            each
            for each in dict.fromkeys(found)
            if isinstance(each, Damage) and log.still_has(each)
        ]
        for damage in damages:
            self._found(damage)
            name = f"{damage.path.name}.offset-{damage.first}.byte-{damage.position}"
            self._datadir.set_aside(name, log.raw(damage))
        log.blank(damages)

    def _open_log(self, path: Path, line_format: LineFormat) -> Log:
        return Log(self._disk, path, line_format, self._config.segment_bytes, self._clock)

    # -- 5: the checkpoint

    def _pass_over_lost(self) -> None:
        """Keep `logEndOffset >= readOffset` where a disk that lied has lost the end of a log."""
        for (topic_id, partition_id), log in self._logs.items():
            self._pass_over(log, self._highest_read(topic_id, partition_id))

    def _pass_over(self, log: Log, end: int) -> None:
        if log.end < end:
            self._found(Missing(log.path, log.end + 1, end))
            log.skip(end)

    def _write_checkpoint(self, ingress: Log, delayed: Delayed) -> Checkpoints:
        checkpoints = Checkpoints(self._disk, self._datadir)
        for log in (ingress, delayed.log, *self._logs.values()):
            log.sync()
        offsets = {KEY: delayed.offsets}
        for (topic_id, number), log in self._logs.items():
            key, journal = partition_key(topic_id, number), self._journals[topic_id]
            offsets[key] = journal.offsets.get(key, Offsets()).at_end(log.end)
            for group, each in journal.groups_of(key).items():
                offsets[group_key(key, group)] = each.at_end(log.end)
        checkpoints.write(Offsets(ingress.end, ingress.end), offsets)
        ingress.release(needless(ingress, ingress.end, self._config, self._clock()))
        delayed.log.release(delayed.offsets.read)
        return checkpoints

    # -- 6: the configuration

    def _configure(self, topics: dict[str, int]) -> Mapping[str, int]:
        """Create and grow topics; refuse what would lose data. Return all that there are.

        Dead letters are not configured: a topic that is keeps its own.
        """
        configured = {topic.id: topic.partitions for topic in self._config.topics}
        kept = {
            dead_letters_of(topic_id): topics[dead_letters_of(topic_id)]
            for topic_id in configured
            if dead_letters_of(topic_id) in topics
        }
        for number, topic in enumerate(self._config.topics):
            if topic.partitions < topics.get(topic.id, 0):
                raise SettingError(
                    f"topics[{number}].partitions",
                    f"is {topic.partitions}, but topic '{topic.id}' has {topics[topic.id]} in "
                    f"{self._datadir.root}; partitions can be added, not taken away",
                    "Config(...)",
                )
        configured = kept | configured
        for topic_id in topics.keys() - configured.keys():
            self._drop_empty_topic(topic_id, topics[topic_id])
        for topic_id, partitions in configured.items():
            nothing = Checkpoint(Offsets(), {})
            self._open_topic(topic_id, range(topics.get(topic_id, 0), partitions), nothing)
        if configured != topics:
            write_config_log(self._disk, self._datadir.config_log, configured)
        return configured

    def _drop_empty_topic(self, topic_id: str, partitions: int) -> None:
        if any(log.end for (known, _), log in self._logs.items() if known == topic_id):
            raise SettingError(
                "topics",
                f"lacks topic '{topic_id}', which has messages in {self._datadir.root}; "
                f"put it back with its {partitions} partitions",
                "Config(...)",
            )
        for partition_id in range(partitions):
            self._logs.pop((topic_id, partition_id)).close()
        self._journals.pop(topic_id).close()
        self._datadir.delete_topic(topic_id)
        self._found(Note(self._datadir.topic_folder(topic_id), "empty and no longer configured"))

    # -- done

    def _store(
        self,
        partitions: Mapping[str, int],
        ingress: Log,
        seen: dict[str, SeenIds],
        delayed: Delayed,
        checkpoints: Checkpoints,
        routed: int,
    ) -> Store:
        # The ingress buffer gets half: all goes through it, and should not come from the disk.
        half = self._config.tail_bytes // 2
        tail_bytes = half // max(len(self._logs), 1)
        configs = {topic.id: topic for topic in self._config.topics}
        assignments = self._read_assignments()
        topics = {
            topic_id: TopicStore(
                configs[topic_id].retention if topic_id in configs else self._config.retention,
                self._journals[topic_id],
                [self._queue(topic_id, number, tail_bytes, assignments) for number in range(count)],
            )
            for topic_id, count in self._in_order(partitions).items()
        }
        return Store(
            self._datadir,
            Queue(ingress, Offsets(ingress.end, ingress.end), half),
            seen,
            delayed,
            topics,
            assignments,
            checkpoints,
            AssignmentLog(self._disk, self._datadir),
            TopicLog(
                self._disk,
                self._datadir,
                self._clock,
                self._config.segment_bytes,
                tail_bytes,
                partitions,
            ),
            routed,
            self._findings,
        )

    def _in_order(self, partitions: Mapping[str, int]) -> Mapping[str, int]:
        """Return the topics, id to partitions, those of the configuration first, in its order."""
        return {topic.id: topic.partitions for topic in self._config.topics} | dict(partitions)

    def _queue(
        self, topic_id: str, number: int, tail_bytes: int, assignments: Sequence[Assignment]
    ) -> Queue:
        key, journal = partition_key(topic_id, number), self._journals[topic_id]
        offsets = journal.offsets.get(key, Offsets())
        log = self._logs[topic_id, number]
        # A group is in all partitions of a topic: of one that is new, it has read nothing.
        names = journal.groups() | {
            each.terms.group for each in assignments if each.topic_id == topic_id
        }
        groups = dict.fromkeys(names - {""}, Offsets(log.end, log.start - 1))
        return Queue(log, offsets, tail_bytes, groups | journal.groups_of(key))

    def _read_offset(self, topic_id: str, partition_id: int) -> int:
        return self._journals[topic_id].read_offset(partition_key(topic_id, partition_id))

    def _highest_read(self, topic_id: str, partition_id: int) -> int:
        return self._journals[topic_id].highest_read(partition_key(topic_id, partition_id))

    def _found(self, finding: Finding) -> None:
        self._findings.append(finding)
