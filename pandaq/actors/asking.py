"""How actors are asked: one deadline for every answer, and every failure as an error of ours.

A message that wants an answer is an `Ask[R]`, and `ask` returns its `R`. Where the answer must wait
for something else (a group commit), the actor answers with a future and completes it later: such a
message is an `Ask[Future[R]]`, and `ask_later` waits for both.
"""

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Generic, Literal, Protocol, TypeVar

import pykka

from pandaq.errors import OutcomeUnknown, ShuttingDown

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

Future = pykka.Future


class Ask(Generic[R_co]):
    """A message whose answer is an `R`."""

    __slots__ = ()


class Ref(Protocol):
    """What an actor needs of a reference to another: pykka's own, or an inline one in a test."""

    def ask(self, message: Any, *, block: Literal[False]) -> Future[Any]:
        """Send a message and return the future of its answer.

        Where the actor has stopped, the future raises `pykka.ActorDeadError`.
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
    deadline = time.monotonic() + timeout_s
    return _get(_send(ref, message), deadline, timeout_s)


def ask_later(ref: Ref, message: Ask[Future[R]], timeout_s: float) -> R:
    """Ask an actor that answers with a future, and wait for that. Raises as `ask` does."""
    deadline = time.monotonic() + timeout_s
    future = _get(_send(ref, message), deadline, timeout_s)
    return _get(future, deadline, timeout_s)


def ask_all(asks: Iterable[tuple[Ref, Ask[R]]], timeout_s: float) -> list[R]:
    """Ask several actors at once and return their answers in order.

    Waits for all of them, with one deadline, before it raises the first error there was.
    """
    deadline = time.monotonic() + timeout_s
    futures = [_send(ref, message) for ref, message in asks]
    answers: list[R] = []
    errors: list[Exception] = []
    for future in futures:
        try:
            answers.append(_get(future, deadline, timeout_s))
        except Exception as error:  # noqa: BLE001 (raised below, when all have answered)
            errors.append(error)
    if errors:
        raise errors[0]
    return answers


def tell(ref: Ref, message: object) -> None:
    """Send a message that has no answer, and that an actor which has stopped does not miss."""
    with suppress(pykka.ActorDeadError):
        ref.tell(message)


def answer(future: Future[R], call: Callable[[], R]) -> None:
    """Complete a future with what `call` returns, or with what it raises."""
    try:
        result = call()
    except Exception:  # noqa: BLE001 (it is for the asker)
        future.set_exception()
    else:
        future.set(result)


def refuse(futures: Iterable[Future[Any]]) -> None:
    """Complete futures that an actor which stops will not come to: they raise `ShuttingDown`."""
    for future in futures:
        future.set_exception((ShuttingDown, ShuttingDown(), None))


def _send(ref: Ref, message: Ask[R]) -> Future[R]:
    return ref.ask(message, block=False)


def _get(future: Future[R], deadline: float, timeout_s: float) -> R:
    try:
        result: R = future.get(timeout=max(deadline - time.monotonic(), 0))
    except pykka.Timeout:
        raise OutcomeUnknown(timeout_s) from None
    except pykka.ActorDeadError:
        raise ShuttingDown from None
    return result
