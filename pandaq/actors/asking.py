"""How actors are asked: one deadline for every answer, and every failure as an error of ours.

A message that wants an answer is an `Ask[R]`, and `ask` returns its `R`. Where the answer must wait
for something else (a group commit), the actor returns a reply and completes it later; the asker
waits for that, or has `send` give it the reply, to be called back.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import count
from typing import Any, Generic, Literal, Protocol, TypeVar, cast

import pykka

from pandaq.actors.reply import Reply
from pandaq.errors import OutcomeUnknown, ShuttingDown

R = TypeVar("R")
S = TypeVar("S")
R_co = TypeVar("R_co", covariant=True)


class Ask(Generic[R_co]):
    """A message whose answer is an `R`."""

    __slots__ = ()


class Ref(Protocol):
    """What an actor needs of a reference to another: pykka's own, or an inline one in a test."""

    def ask(self, message: Any, *, block: Literal[False]) -> pykka.Future[Any]:
        """Send a message and return the `Reply` that its answer will complete.

        Where the actor has stopped, that raises `pykka.ActorDeadError`.
        """

    def tell(self, message: Any) -> None:
        """Send a message that has no answer. It is lost where the actor stops first.

        Raises `pykka.ActorDeadError`.
        """

    def is_alive(self) -> bool:
        """Tell whether the actor still takes messages."""

    def stop(self, *, block: Literal[True], timeout: float | None) -> bool:
        """Stop the actor behind what it was sent before. Raises `pykka.Timeout`."""


def ask(ref: Ref, message: Ask[R], timeout_s: float) -> R:
    """Ask and wait for the answer.

    Raises what the actor raises, `OutcomeUnknown` after `timeout_s` (the actor may still do it),
    `ShuttingDown` where the actor has stopped.
    """
    return get(send(ref, message), timeout_s)


def send(ref: Ref, message: Ask[R]) -> Reply[R]:
    """Ask and wait for nothing: `get` gives what the reply is completed with."""
    # All our actors make replies, see `ThreadActor`; pykka's types know futures alone.
    return cast("Reply[R]", ref.ask(message, block=False))


def get(reply: Reply[R], timeout_s: float) -> R:
    """Wait for a reply. Raises as `ask` does."""
    try:
        return reply.get(timeout=timeout_s)
    except pykka.Timeout:
        raise OutcomeUnknown(timeout_s) from None
    except pykka.ActorDeadError:
        raise ShuttingDown from None


def ask_all(asks: Iterable[tuple[Ref, Ask[R]]], timeout_s: float) -> list[R]:
    """Ask several actors at once and return their answers in order.

    Waits for all of them, with one deadline, before it raises the first error there was.
    """
    replies = [send(ref, message) for ref, message in asks]
    _wait_for_all(replies, timeout_s)
    answers: list[R] = []
    errors: list[Exception] = []
    for reply in replies:
        try:
            answers.append(get(reply, 0))
        except OutcomeUnknown:
            errors.append(OutcomeUnknown(timeout_s))
        except Exception as error:  # noqa: BLE001 (raised below, when all have answered)
            errors.append(error)
    if errors:
        raise errors[0]
    return answers


def _wait_for_all(replies: Sequence[Reply[Any]], timeout_s: float) -> None:
    """Sleep until the last of them is there, and not be woken by each."""
    if not replies:
        return
    all_done: Reply[None] = Reply()
    done = count(1)

    def one_is_done() -> None:
        if next(done) == len(replies):
            all_done.set()

    for reply in replies:
        reply.when_done(one_is_done)
    with suppress(pykka.Timeout):
        all_done.get(timeout=timeout_s)


def then(first: Reply[R], following: Callable[[R], Reply[S]]) -> Reply[S]:
    """Return what `following` makes of the first reply's value, once that is there.

    An error of the first is that of the whole. `following` is called by whoever completes the first
    reply: it must be quick.
    """
    whole: Reply[S] = Reply()

    def go_on() -> None:
        try:
            whole.set(following(first.get(timeout=0)))
        except Exception:  # noqa: BLE001 (it is for who asked)
            whole.set_exception()

    first.when_done(go_on)
    return whole


def tell(ref: Ref, message: object) -> None:
    """Send a message that has no answer, and that an actor which has stopped does not miss."""
    with suppress(pykka.ActorDeadError):
        ref.tell(message)


def answer(reply: Reply[R], call: Callable[[], R]) -> None:
    """Complete a reply with what `call` returns, or with what it raises."""
    try:
        result = call()
    except Exception:  # noqa: BLE001 (it is for the asker)
        reply.set_exception()
    else:
        reply.set(result)


def refuse(replies: Iterable[Reply[Any]]) -> None:
    """Complete replies that an actor which stops will not come to: they raise `ShuttingDown`."""
    for reply in replies:
        reply.set_exception((ShuttingDown, ShuttingDown(), None))
