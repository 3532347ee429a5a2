"""Actors without threads: an ask runs the actor in the caller's own thread, in a fixed order."""

from typing import Any, Literal

import pykka

from pandaq.actors.reply import Reply


class InlineRef:
    """A reference whose `ask` calls `on_receive` at once, then what the actor told itself."""

    def __init__(self, actor: pykka.ThreadingActor) -> None:
        self.actor = actor
        self._stopped = False

    def ask(self, message: Any, *, block: Literal[False] = False) -> Reply[Any]:
        future: Reply[Any] = Reply()
        try:
            self._refuse_if_stopped()
            future.set(self.actor.on_receive(message))
        except Exception:  # noqa: BLE001 (it is for the asker)
            future.set_exception()
        self._drain()
        return future

    def tell(self, message: Any) -> None:
        self._refuse_if_stopped()
        self.actor.on_receive(message)
        self._drain()

    def is_alive(self) -> bool:
        return not self._stopped

    def stop(self, *, block: Literal[True] = True, timeout: float | None = None) -> bool:
        if not self._stopped:
            self._stopped = True
            self.actor.on_stop()
        return True

    def _refuse_if_stopped(self) -> None:
        if self._stopped:
            raise pykka.ActorDeadError

    def _drain(self) -> None:
        inbox = self.actor.actor_inbox
        while not inbox.empty():
            self.actor.on_receive(inbox.get().message)


class UntoldRef(InlineRef):
    """A reference that keeps what it is told for the test to see: a scheduler that never ticks."""

    def __init__(self, actor: pykka.ThreadingActor) -> None:
        super().__init__(actor)
        self.told: list[Any] = []

    def tell(self, message: Any) -> None:
        self.told.append(message)


def spawn_inline(actor_class: type[pykka.ThreadingActor], *args: Any) -> InlineRef:
    """Make an actor without a thread, for `System(spawn=...)`; the scheduler stays idle."""
    actor = actor_class(*args)
    return UntoldRef(actor) if actor_class.__name__ == "Scheduler" else InlineRef(actor)
