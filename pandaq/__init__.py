"""Panda-Q: a durable single-node message broker made of actors.

`python -m pandaq.web` runs it as an HTTP server; a program embeds it as `Broker`.
"""

from pandaq.actors.system import System as Broker
from pandaq.batch import Batch
from pandaq.config import Config, Retention, TopicConfig
from pandaq.errors import PandaqError
from pandaq.message import Message, Record

__all__ = [
    "Batch",
    "Broker",
    "Config",
    "Message",
    "PandaqError",
    "Record",
    "Retention",
    "TopicConfig",
]
