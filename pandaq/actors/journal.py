"""The keeper of a topic's offsets file.

Commits of several partitions that wait together share one append and one sync.
"""

from typing import Any, assert_never

from pandaq.actors.asking import refuse
from pandaq.actors.messages import DescribeTrouble, Flush, Forget, Record
from pandaq.actors.reply import Reply
from pandaq.actors.thread import ThreadActor
from pandaq.storage.journal import Journal

Message = Record | Forget | Flush | DescribeTrouble


class JournalKeeper(ThreadActor):
    """Owns the journal of one topic."""

    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self._journal = journal
        self._gathered: list[tuple[Record, Reply[None]]] = []

    def on_receive(self, message: Message) -> Any:
        """Handle one message; see `pandaq.actors.messages`."""
        match message:
            case Record():
                return self._gather(message)
            case Forget(keys):
                self._journal.forget(keys)
            case Flush():
                self._flush()
            case DescribeTrouble():
                return self._journal.problem()
            case _:
                assert_never(message)
        return None

    def on_stop(self) -> None:
        """Tell those whose flush would come too late that nothing of theirs was kept."""
        refuse(reply for _, reply in self._gathered)

    def _gather(self, message: Record) -> Reply[None]:
        if not self._gathered:
            self.actor_ref.tell(Flush())
        reply: Reply[None] = Reply()
        self._gathered.append((message, reply))
        return reply

    def _flush(self) -> None:
        gathered, self._gathered = self._gathered, []
        try:
            self._journal.record({record.key: record.offsets for record, _ in gathered})
        except Exception:  # noqa: BLE001 (it is for those who wait)
            for _, reply in gathered:
                reply.set_exception()
        else:
            for _, reply in gathered:
                reply.set()
