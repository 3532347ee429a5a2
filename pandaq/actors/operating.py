"""What those ask who run a broker."""

from collections import defaultdict
from dataclasses import dataclass

from pandaq.actors.asking import Ref, ask_all
from pandaq.actors.calls import Calls
from pandaq.actors.description import Description, TopicDescription
from pandaq.actors.messages import (
    Append,
    Commit,
    DeleteGroup,
    DescribeDelayed,
    DescribeGroups,
    DescribeQueue,
    DescribeSeen,
    DescribeTopic,
    DescribeTrouble,
    GroupDescription,
    Read,
)
from pandaq.batch import Batch
from pandaq.errors import PandaqError, TopicNotFound
from pandaq.ids import dead_letters_of, topic_of_dead_letters
from pandaq.refusal import driven_back


@dataclass(frozen=True, slots=True)
class Redriven:
    """How many dead letters were moved back to which topic, and how many are left."""

    topic_id: str
    moved: int
    remaining: int


class Operating(Calls):
    """Looking at everything, and putting things right."""

    def dead_actors(self) -> list[str]:
        """Return the names of actors that have died though nobody stopped them."""
        return self._crew.dead() if self._crew else []

    def redrive(self, topic_id: str) -> Redriven:
        """Move dead letters back to their topic, for the groups that refused them.

        `topic_id` may be either of the two. At most `maxBatchMessages` at once. Whatever fails in
        between, none is lost; some may then be moved again. Raises `InvalidRequest`,
        `TopicNotFound`, `BufferFull`, `StorageFull`, `StorageFailed`.
        """
        base = topic_of_dead_letters(topic_id) or topic_id
        self._check_topic(base)
        dead = dead_letters_of(base)
        refs = self._running.partitions.get(dead, [])
        if not refs and topic_id == dead:
            raise TopicNotFound(dead)
        left = self.config.max_batch_messages
        remaining = 0
        for ref in refs:
            while batch := self._some_of(ref, left):
                if batch.lines:
                    bodies = [driven_back(line) for line in batch.lines]
                    self._ask(self._running.ingress, Append(bodies))
                self._ask(ref, Commit(batch.end_offset))
                left -= batch.count
            remaining += self._ask(ref, DescribeQueue()).offsets.pending
        return Redriven(base, self.config.max_batch_messages - left, remaining)

    def delete_group(self, topic_id: str, group: str) -> None:
        """Forget a group that has no consumers, for good when this returns.

        Raises `GroupNotFound`, `GroupInUse`, `StorageFull`, `StorageFailed`.
        """
        self._check_topic(topic_id)
        self._ask(self._running.registry, DeleteGroup(topic_id, group))

    def describe(self) -> Description:
        """Return the offsets, buffers, groups and consumers of everything."""
        crew = self._running
        refs = dict(crew.topics)
        asks = [(ref, DescribeTopic()) for ref in refs.values()]
        partitions = dict(zip(refs, ask_all(asks, self._timeout_s), strict=True))
        groups: defaultdict[str, list[GroupDescription]] = defaultdict(list)
        for group in self._ask(crew.registry, DescribeGroups()):
            groups[group.topic_id].append(group)
        seen = self._ask(crew.ingress, DescribeSeen())
        topics = [
            TopicDescription(topic_id, queues, groups[topic_id], seen.get(topic_id))
            for topic_id, queues in partitions.items()
        ]
        ingress = self._ask(crew.ingress, DescribeQueue())
        return Description(topics, ingress, self._ask(crew.delay, DescribeDelayed()))

    def problems(self) -> list[str]:
        """Return what keeps the broker from working, a sentence each; none where it is healthy."""
        dead = self.dead_actors()
        if dead:
            return [f"the actor '{name}' has died; restart the broker" for name in dead]
        try:
            problems = self._problems_of_files()
            trouble = self._ask(self._running.broker, DescribeTrouble())
        except PandaqError as error:
            return [str(error)]
        return problems + ([f"routing waits: {trouble}"] if trouble else [])

    def _some_of(self, partition: Ref, most: int) -> Batch | None:
        """Return some messages of a partition of dead letters, None where there are none."""
        if most <= 0:
            return None
        batch = self._ask(partition, Read(most, self.config.max_body_bytes))
        return batch if batch.end_offset > batch.start_offset else None

    def _problems_of_files(self) -> list[str]:
        """Return a sentence for each file that cannot be written."""
        crew, description = self._running, self.describe()
        problems = {"the ingress log": description.ingress.problem}
        for topic in description.topics:
            for number, queue in enumerate(topic.partitions):
                problems[f"partition {number} of topic '{topic.topic_id}'"] = queue.problem
        for topic_id, journal in list(crew.journals.items()):
            trouble = self._ask(journal, DescribeTrouble())
            problems[f"the offsets file of topic '{topic_id}'"] = trouble
        problems["the delay log"] = description.delayed.problem
        problems["TPC.log"] = self._ask(crew.registry, DescribeTrouble())
        return [f"{name} {problem}" for name, problem in problems.items() if problem]
