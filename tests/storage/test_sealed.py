"""Small files of lines that prove themselves."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandaq.storage.sealed import Span, read_sealed, seal, unseal, write_sealed
from tests.simulated_disk import SimulatedDisk

WORDS = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=5)
LINES = st.lists(st.lists(WORDS, min_size=1, max_size=4).map("|".join), max_size=5)
BLOCKS = st.lists(LINES, max_size=4)


def test_a_checksum_closes_each_block() -> None:
    data = seal(["ingress|10|10", "orders_partition_0|4"])
    assert data.startswith(b"ingress|10|10\norders_partition_0|4\nchecksum|")
    assert len(data.splitlines()[-1]) == len("checksum|6f1c2a90")


@given(BLOCKS)
def test_all_lines_come_back_in_order(blocks: list[list[str]]) -> None:
    data = b"".join(map(seal, blocks))
    unsealed = unseal(data)
    assert unsealed.lines == [line for block in blocks for line in block]
    assert (unsealed.end, unsealed.damaged) == (len(data), [])


def test_an_empty_file_says_nothing() -> None:
    unsealed = unseal(b"")
    assert (unsealed.lines, unsealed.end, unsealed.damaged) == ([], 0, [])


@given(BLOCKS, LINES)
def test_a_torn_append_is_known_wherever_it_is_torn(
    blocks: list[list[str]], torn: list[str]
) -> None:
    whole = b"".join(map(seal, blocks))
    block = seal(torn)
    for cut in range(len(block)):
        unsealed = unseal(whole + block[:cut])
        assert unsealed.lines == [line for block in blocks for line in block]
        assert (unsealed.end, unsealed.damaged) == (len(whole), [])


def test_one_changed_byte_costs_at_most_its_block_and_the_next() -> None:
    blocks = [seal([f"{name}|1", f"{name}|2"]) for name in "abc"]
    data = b"".join(blocks)
    for position in range(len(data)):
        block = position // len(blocks[0])
        for bit in range(8):
            changed = bytearray(data)
            changed[position] ^= 1 << bit
            unsealed = unseal(bytes(changed))
            intact = [name for number, name in enumerate("abc") if number not in (block, block + 1)]
            lines = unsealed.lines
            assert {f"{name}|{n}" for name in intact for n in (1, 2)} <= set(lines)
            assert set(lines) <= {f"{name}|{n}" for name in "abc" for n in (1, 2)}
            assert f"{'abc'[block]}|1" not in lines
            assert unsealed.damaged or unsealed.end < len(data)


def test_a_damaged_block_is_told_by_its_bytes_and_leaves_the_others_readable() -> None:
    first, second, third = seal(["a|1"]), seal(["b|1"]), seal(["c|1"])
    unsealed = unseal(first + second.replace(b"b", b"x", 1) + third)
    assert unsealed.lines == ["a|1", "c|1"]
    assert unsealed.damaged == [Span(len(first), len(second))]
    assert unsealed.end == len(first + second + third)


@pytest.mark.parametrize("consumer", ["alice", "alice1", "6f1c2a90", "", "a" * 99])
def test_a_topic_may_be_called_checksum(consumer: str) -> None:
    lines = [f"checksum|0|{consumer}", f"checksum|12|{consumer}", "checksum_partition_0|1|0"]
    assert unseal(seal(lines)).lines == lines


@pytest.mark.parametrize("name", ["a\rb", "a\x0bb", "a\x1cb", "a\x85b", "a\u2028b"])
def test_only_a_newline_parts_lines(name: str) -> None:
    assert unseal(seal([name])).lines == [name]


@given(st.binary() | st.binary().map(seal(["a|1"]).__add__))
def test_any_bytes_can_be_read(data: bytes) -> None:
    unsealed = unseal(data)
    assert 0 <= unsealed.end <= len(data)
    for span in unsealed.damaged:
        assert 0 <= span.position < span.position + span.length <= unsealed.end


def test_a_sealed_file_is_put_in_place_durably() -> None:
    disk = SimulatedDisk()
    write_sealed(disk, Path("a"), ["old|1", "old|2"])
    write_sealed(disk, Path("a"), ["new|1"])
    assert disk.power_loss_worst().files() == {Path("a"): seal(["new|1"])}


def test_a_file_of_one_block_that_stands_there_twice_is_not_whole() -> None:
    disk = SimulatedDisk()
    write_sealed(disk, Path("small.log"), ["a|1"])
    assert read_sealed(disk, Path("small.log")) == ["a|1"]
    whole = disk.files()[Path("small.log")]
    file = disk.open(Path("small.log"))
    file.write(len(whole), whole)
    file.close()
    assert read_sealed(disk, Path("small.log")) is None
