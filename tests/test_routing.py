"""Which partition a message goes to."""

from collections import Counter
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandaq.routing import partition_for

COUNTS = st.integers(1, 10_000)


@given(st.binary(), COUNTS)
def test_it_is_the_first_8_hex_digits_of_the_sha256_modulo_the_count(
    key: bytes, partitions: int
) -> None:
    assert partition_for(key, partitions) == int(sha256(key).hexdigest()[:8], 16) % partitions


@given(st.binary(), COUNTS)
def test_it_is_one_of_the_partitions_and_always_the_same(key: bytes, partitions: int) -> None:
    partition = partition_for(key, partitions)
    assert partition in range(partitions)
    assert partition_for(bytes(bytearray(key)), partitions) == partition


# The digits by `printf %s KEY | sha256sum | cut -c1-8`.
@pytest.mark.parametrize(
    ("key", "digits"),
    [("", 0xE3B0C442), ("msg-001", 0x7B5AC131), ("a|b", 0x0EAB8A0A), ("\u00fc", 0x607474CA)],
)
def test_keys_stay_where_they_have_always_been(key: str, digits: int) -> None:
    assert [partition_for(key.encode(), n) for n in range(1, 100)] == [
        digits % n for n in range(1, 100)
    ]


def test_keys_spread_over_all_partitions() -> None:
    counts = Counter(partition_for(b"msg-%d" % number, 8) for number in range(8000))
    assert all(900 < counts[partition] < 1100 for partition in range(8))
