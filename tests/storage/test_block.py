"""A block: consecutive lines that are written, indexed, checked and read as one."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pandaq.storage.block import BLOCK_BYTES, Block, blocks_of

SIZES = st.integers(1, 20) | st.integers(1, 2 * BLOCK_BYTES)
LINES = st.lists(SIZES.map(lambda size: b"x" * (size - 1) + b"\n"), max_size=30)


def test_no_lines_make_no_block() -> None:
    assert blocks_of(1, []) == []


def test_a_block_gives_its_lines_without_their_newlines() -> None:
    assert Block(4, 6, b"a\n\nc\n").lines() == [b"a", b"", b"c"]


def test_lines_that_fill_a_block_exactly_are_one() -> None:
    half = b"x" * (BLOCK_BYTES // 2 - 1) + b"\n"
    assert [(block.first, block.last) for block in blocks_of(1, [half] * 3)] == [(1, 2), (3, 3)]


def test_a_line_that_is_longer_than_a_block_is_one_alone() -> None:
    long = b"x" * BLOCK_BYTES + b"\n"
    lines = [b"a\n", long, b"b\n", b"c\n"]
    assert blocks_of(7, lines) == [
        Block(7, 7, b"a\n"),
        Block(8, 8, long),
        Block(9, 10, b"b\nc\n"),
    ]


@given(st.integers(1, 1 << 40), LINES)
def test_blocks_have_all_lines_in_order_and_are_as_full_as_may_be(
    first: int, lines: list[bytes]
) -> None:
    blocks = blocks_of(first, lines)
    assert [line + b"\n" for block in blocks for line in block.lines()] == lines
    offset = first
    for block in blocks:
        assert block.first == offset
        assert block.last == offset + len(block.lines()) - 1
        assert len(block.data) <= BLOCK_BYTES or block.first == block.last
        offset = block.last + 1
    for block, following in pairwise(blocks):
        assert len(block.data) + len(following.lines()[0]) + 1 > BLOCK_BYTES
