"""A read that waits for messages, and asks the registry first where a consumer is named."""

from dataclasses import replace
from threading import Lock

from pandaq.actors.asking import Ref, send, tell, then
from pandaq.actors.messages import EndWait, Read, ReadOrWait
from pandaq.actors.reply import Reply
from pandaq.batch import Batch


class WaitingRead:
    """A read that is answered when there is something to read, or at `end`.

    Where a consumer is named, `check` asks the registry first, and answers with the generation.
    """

    def __init__(
        self, partition: Ref, message: ReadOrWait, check: Reply[int] | None = None
    ) -> None:
        self._partition = partition
        self._message = message
        self._has_ended = False
        self._lock = Lock()
        self.reply: Reply[Batch] = then(check, self._read_as) if check else send(partition, message)

    def end(self) -> None:
        """Have it answered with what there is, also where nobody is left to hear it."""
        with self._lock:
            self._has_ended = True
            tell(self._partition, EndWait(self._message))

    def _read_as(self, generation: int) -> Reply[Batch]:
        most = self._message.max_messages, self._message.max_bytes
        caller = replace(self._message.caller, generation=generation)
        with self._lock:  # An end that comes before the read would otherwise not end it.
            if self._has_ended:
                return send(self._partition, Read(*most, caller))
            self._message = ReadOrWait(*most, caller)
            return send(self._partition, self._message)
