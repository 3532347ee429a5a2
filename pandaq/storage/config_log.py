"""config.log: which topics the data directory has, and with how many partitions.

    topic_config|{topicId}|{partitions}         a line for every topic

It is what makes a folder a data directory.
"""

from collections.abc import Mapping
from pathlib import Path

from pandaq.storage.disk import Disk
from pandaq.storage.sealed import read_sealed, write_sealed


def write_config_log(disk: Disk, path: Path, topics: Mapping[str, int]) -> None:
    """Put the topics (id to partitions) in place, durably. Raises `OSError`, `SyncFailed`."""
    write_sealed(disk, path, [f"topic_config|{key}|{count}" for key, count in topics.items()])


def read_config_log(disk: Disk, path: Path) -> dict[str, int] | None:
    """Return the topics (id to partitions), None where the file is missing or damaged."""
    lines = read_sealed(disk, path)
    if lines is None:
        return None
    fields = (line.split("|") for line in lines)
    return {topic_id: int(partitions) for _, topic_id, partitions in fields}
