"""Which partition a message goes to.

The partition is a pure function of the key, so routing a log again after a crash gives the same
partitions in the same order.
"""

import struct
from collections.abc import Iterable
from hashlib import sha256

_FIRST_32_BITS = struct.Struct(">I").unpack_from


def partition_for(key: bytes, partitions: int) -> int:
    """Return the partition of a key (UTF-8), from 0 to `partitions - 1`.

    The first 8 hex digits of the key's SHA-256, as an integer, modulo the partition count.

    >>> partition_for(b"msg-001", 3)
    2
    """
    return partitions_for([key], partitions)[0]


def partitions_for(keys: Iterable[bytes], partitions: int) -> list[int]:
    """Return the partition of each of several keys, as `partition_for`."""
    # All at once: a call for each message would cost as much as its hash.
    return [_FIRST_32_BITS(sha256(key).digest())[0] % partitions for key in keys]
