"""The brokers that Panda-Q is compared with; their clients are imported where they are used."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

Load = Sequence[Sequence[Mapping[str, Any]]]
"""Batches of messages, each with `messageId` and `content`."""


class Peer(Protocol):
    """A broker of others. Every rate is in messages per second, of a server of its own."""

    @property
    def name(self) -> str:
        """What it is called."""

    def missing(self) -> str | None:
        """Return what to install to have it measured, or None where all is there."""

    def setting(self) -> str:
        """Return its name, its version, and when it syncs."""

    def produce_per_s(self, folder: Path, load: Load) -> float:
        """Send batches, each confirmed before the next one."""
