"""Panda-Q: a durable single-node message broker made of actors.

`python -m pandaq.web` runs it as an HTTP server; a program embeds it as `Broker`.
"""

from pandaq.actors.messages import Caller, Target
from pandaq.actors.system import System as Broker
from pandaq.batch import Batch
from pandaq.config import Config, Retention, Retry, TopicConfig
from pandaq.errors import PandaqError
from pandaq.message import Message, Record

__all__ = [
    "Batch",
    "Broker",
    "Caller",
    "Config",
    "Message",
    "PandaqError",
    "Record",
    "Retention",
    "Retry",
    "Target",
    "TopicConfig",
]
