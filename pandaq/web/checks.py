"""Whether a request has come to the right broker, and names its topic rightly."""

from pandaq.actors.system import System
from pandaq.errors import BrokerNotFound
from pandaq.ids import check_topic_id


def check_address(system: System, broker_id: str | None, topic_id: str) -> None:
    """Raise `BrokerNotFound` for another broker, `InvalidRequest` for an impossible topicId."""
    own = system.config.broker_id
    if broker_id is not None and broker_id != own:
        raise BrokerNotFound(broker_id[:200], own)
    check_topic_id(topic_id)
