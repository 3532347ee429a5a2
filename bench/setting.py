"""How a measurement is done: how often, how large, and where."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from pandaq.benchmark.progress import Progress

N = TypeVar("N", int, float)

RUNS: Final = 5
BACKLOG_MESSAGES: Final = 5_000_000
SUSTAINED_MINUTES: Final = 5.0


@dataclass(frozen=True, slots=True)
class Setting:
    """What the command line says.

    `folder` is on the disk to be measured; `quick` shrinks everything until it only shows that it
    runs: figures of a quick run mean nothing.
    """

    folder: Path
    runs: int = RUNS
    quick: bool = False
    messages: int = BACKLOG_MESSAGES
    minutes: float = SUSTAINED_MINUTES
    progress: Progress = field(default_factory=Progress)

    def size(self, full: N, quick: N) -> N:
        """Return the size for this setting."""
        return quick if self.quick else full

    @contextmanager
    def temporary_folder(self) -> Iterator[Path]:
        """Make a folder on the disk to be measured; remove it with all that is in it afterwards."""
        with tempfile.TemporaryDirectory(
            prefix="pandaq-bench-", dir=self.folder, ignore_cleanup_errors=True
        ) as name:
            yield Path(name)
