"""The catalog: has topics made while the broker runs, and makes them known.

Today these are the topics of dead letters, which come with the first one.
"""

from collections.abc import Callable
from typing import Any, assert_never

from pandaq.actors.asking import Ref, ask
from pandaq.actors.messages import AddTopic, OpenTopic
from pandaq.actors.thread import ThreadActor

Message = OpenTopic


class Catalog(ThreadActor):
    """Decides, one after the other, on topics that are to be there.

    `make` makes one durable and starts its actors; it returns None where the topic is there.
    """

    def __init__(
        self,
        make: Callable[[str], AddTopic | None],
        registry: Ref,
        broker: Ref,
        ask_timeout_s: float,
    ) -> None:
        super().__init__()
        self._make = make
        self._registry = registry
        self._broker = broker
        self._ask_timeout_s = ask_timeout_s
        self._unknown: AddTopic | None = None

    def on_receive(self, message: Message) -> Any:
        """Handle one message; see `pandaq.actors.messages`."""
        match message:
            case OpenTopic(topic_id):
                self._open(topic_id)
            case _:
                assert_never(message)

    def _open(self, topic_id: str) -> None:
        """Have a topic; whoever hears that it is there may append to it."""
        self._make_known()  # one that another time did not come to
        self._unknown = self._make(topic_id)
        self._make_known()

    def _make_known(self) -> None:
        if self._unknown:
            ask(self._registry, self._unknown, self._ask_timeout_s)
            ask(self._broker, self._unknown, self._ask_timeout_s)
            self._unknown = None
