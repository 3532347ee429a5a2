"""A topic: decides which partition each message goes to, and speaks for its partitions."""

from collections.abc import Mapping, Sequence
from typing import Any, assert_never

from pandaq.actors.asking import Ref, ask_all
from pandaq.actors.messages import (
    AppendRouted,
    DescribeQueue,
    DescribeTopic,
    QueueDescription,
    Retain,
    Sync,
)
from pandaq.actors.thread import ThreadActor
from pandaq.offsets import Offsets
from pandaq.records import keys_of
from pandaq.routing import partitions_for

Message = AppendRouted | Sync | Retain | DescribeTopic


class Topic(ThreadActor):
    """Asks its partitions, in the order of their numbers."""

    def __init__(self, partitions: Sequence[Ref], ask_timeout_s: float) -> None:
        super().__init__()
        self._partitions = partitions
        self._ask_timeout_s = ask_timeout_s

    def on_receive(self, message: Message) -> Any:
        """Handle one message; see `pandaq.actors.messages`."""
        match message:
            case AppendRouted(offsets, payloads):
                self._append(offsets, payloads)
            case Sync():
                return self._sync()
            case Retain():
                asks = [(partition, message) for partition in self._partitions]
                return sum(ask_all(asks, self._ask_timeout_s))
            case DescribeTopic():
                return self._describe()
            case _:
                assert_never(message)
        return None

    def _append(self, offsets: Sequence[int], payloads: Sequence[bytes]) -> None:
        count = len(self._partitions)
        parts: list[tuple[list[int], list[bytes]]] = [([], []) for _ in range(count)]
        numbers = partitions_for(keys_of(payloads), count)
        for number, offset, payload in zip(numbers, offsets, payloads, strict=True):
            its_offsets, its_payloads = parts[number]
            its_offsets.append(offset)
            its_payloads.append(payload)
        asks = [
            (partition, AppendRouted(*part))
            for partition, part in zip(self._partitions, parts, strict=True)
            if part[0]
        ]
        ask_all(asks, self._ask_timeout_s)

    def _sync(self) -> Mapping[str, Offsets]:
        asks = [(partition, Sync()) for partition in self._partitions]
        return {k: v for found in ask_all(asks, self._ask_timeout_s) for k, v in found.items()}

    def _describe(self) -> Sequence[QueueDescription]:
        asks = [(partition, DescribeQueue()) for partition in self._partitions]
        return ask_all(asks, self._ask_timeout_s)
