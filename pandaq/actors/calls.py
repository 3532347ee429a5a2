"""What all calls of a broker have in common: who is asked, for how long, and under which names."""

from collections.abc import Mapping

from pandaq.actors.asking import Ask, R, Ref, ask
from pandaq.actors.crew import Crew
from pandaq.config import Config
from pandaq.errors import PartitionNotFound, ShuttingDown, TopicNotFound
from pandaq.ids import check_consumer_id
from pandaq.storage.log import Clock


class Calls:
    """The actors of a broker, while it runs, and its settings."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self.config = config
        self._clock = clock
        self._timeout_s = config.ask_timeout_ms / 1000
        self._configured = {topic.id: topic for topic in config.topics}
        self._crew: Crew | None = None

    @property
    def topics(self) -> Mapping[str, int]:
        """The topics, id to partitions: those of the configuration, and their dead letters."""
        if self._crew is None:
            return {topic.id: topic.partitions for topic in self.config.topics}
        return {topic_id: len(refs) for topic_id, refs in list(self._crew.partitions.items())}

    @property
    def _running(self) -> Crew:
        if self._crew is None:
            raise ShuttingDown
        return self._crew

    def _ask(self, ref: Ref, message: Ask[R]) -> R:
        return ask(ref, message, self._timeout_s)

    def _check_topic(self, topic_id: str) -> None:
        if topic_id not in self._running.topics:
            raise TopicNotFound(topic_id)

    def _partition(self, topic_id: str, partition_id: int) -> Ref:
        self._check_topic(topic_id)
        refs = self._running.partitions[topic_id]
        if not 0 <= partition_id < len(refs):
            raise PartitionNotFound(topic_id, partition_id, len(refs))
        return refs[partition_id]

    def _check_names(self, topic_id: str, consumer_id: str, group: str) -> None:
        self._check_topic(topic_id)
        check_consumer_id(consumer_id)
        if group:
            check_consumer_id(group, "group")
