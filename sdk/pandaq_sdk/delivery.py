"""A batch on its way: sent, split where it is refused, and every message told its outcome.

A broker takes a batch whole or not at all, and one message that it will not have (400, 413) makes
it refuse the batch. So a refused batch is sent again as two halves, the first one first, and each
refused half likewise, until the refusal is of a single message: that one is to blame. With k to
blame of n that is about 2k log2(n) requests, and never more than 2n - 1. Nothing was kept of what
was refused, so this writes nothing twice, and the order stays.
"""

import copy
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import InvalidStateError
from http import HTTPStatus
from typing import Protocol

from pandaq_sdk.envelope import Answer
from pandaq_sdk.errors import InvalidRequest, PandaqSdkError, PayloadTooLarge, UnexpectedAnswer
from pandaq_sdk.outbox import Outgoing
from pandaq_sdk.receipt import Produced, ProducedBatch, produced_batch_from


class Line(Protocol):
    """What batches go over to the broker."""

    def append(self, messages: Iterable[bytes]) -> Answer:
        """Send messages, each as its JSON, in one request; raises a `PandaqSdkError`."""

    def close(self) -> None:
        """Close it."""


def claimed(messages: Iterable[Outgoing]) -> list[Outgoing]:
    """Return messages without those whose future was cancelled; the others cannot be any more."""
    return [each for each in messages if _claim(each)]


def deliver(batch: Sequence[Outgoing], line: Line) -> PandaqSdkError | None:
    """Send a claimed batch and complete the futures of its messages, in order.

    An error that is no single message's fault is given to all that have no outcome yet, and
    returned; what of the batch was not sent by then is not tried.
    """
    groups = [batch] if batch else []
    while groups:
        group = groups.pop()
        try:
            receipt = produced_batch_from(line.append(each.encoded for each in group))
        except PandaqSdkError as error:
            if not _blames_a_message(error):
                fail(group, error)
                for later in reversed(groups):
                    fail(later, error)
                return error
            if len(group) == 1:
                fail(group, error)
            else:
                half = len(group) // 2
                groups += [group[half:], group[:half]]
        else:
            _succeed(group, receipt)
    return None


def fail(messages: Iterable[Outgoing], error: PandaqSdkError) -> None:
    """Give `error` to messages; one that has its outcome keeps it.

    Each gets a copy of its own: whoever raises an error writes a traceback into it.
    """
    for each in messages:
        own = copy.copy(error)
        own.__cause__ = error.__cause__
        try:
            each.future.set_exception(own)
        except InvalidStateError:
            continue


def _claim(message: Outgoing) -> bool:
    try:
        return message.future.set_running_or_notify_cancel()
    except RuntimeError:  # somebody else completed it
        return False


def _succeed(messages: Sequence[Outgoing], receipt: ProducedBatch) -> None:
    # Of several with one id, the first is the one that was written, if any was.
    repeated = Counter(receipt.duplicates)
    outcomes = []
    for each in reversed(messages):
        message_id = _as_text(each.message_id)
        is_duplicate = repeated[message_id] > 0
        repeated[message_id] -= is_duplicate
        outcomes.append(
            Produced(message_id, receipt.topic_id, receipt.timestamp, duplicate=is_duplicate)
        )
    for each, produced in zip(messages, reversed(outcomes), strict=True):
        try:
            each.future.set_result(produced)
        except InvalidStateError:
            continue


def _as_text(message_id: object) -> str:
    # As JSON has it: the str() of an enum may be its name.
    if isinstance(message_id, str):
        return str.__str__(message_id)
    return int.__repr__(message_id) if isinstance(message_id, int) else str(message_id)


def _blames_a_message(error: PandaqSdkError) -> bool:
    # A proxy with a limit of its own says 413 with a page instead of a broker's answer.
    return isinstance(error, InvalidRequest | PayloadTooLarge) or (
        isinstance(error, UnexpectedAnswer) and error.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    )
