"""Rows for the terminal and for the page."""

from bench.row import Reach
from bench.table import block, markdown, summary
from tests.bench.sample_rows import sample_row, spread


def test_a_row_for_the_terminal_has_all_that_was_measured() -> None:
    row = sample_row(note="one producer")
    assert block(row).splitlines() == [
        "batches of 500",
        "    Panda-Q   60,000 (54,000 to 72,000) messages/s",
        "    compared  20,000 (18,000 to 24,000) messages/s: Redis 7, always",
        "    ratio     3.00 (2.70 to 3.60)",
        "    reach     ≥ 2.50: reached",
        "    the disk  4,000 fsync/s, 800 MB/s, without a broker",
        "    note      one producer",
    ]


def test_a_row_without_another_beside_it_has_no_ratio() -> None:
    said = block(sample_row(ratio=None))
    assert "ratio" not in said
    assert "not measured" in said


def test_the_summary_has_a_line_for_each_row() -> None:
    rows = [sample_row(ratio=3.0), sample_row("idle", ratio=None, reach=None, against="nobody")]
    lines = summary(rows).splitlines()
    assert len(lines) == 3
    assert lines[1] == "batches of 500  60,000 messages/s  3.00   ≥ 2.50: reached"
    assert lines[2].endswith("(nobody)")


def test_the_page_has_the_peers_in_a_table_of_their_own() -> None:
    peer = sample_row("produce-nats", reach=None, is_peer=True, against="NATS, every 2 minutes")
    page = markdown([sample_row(), peer])
    own, peers = page.split("## Other brokers")
    assert "Redis 7, always" in own
    assert "NATS" not in own
    assert "| NATS, every 2 minutes | 20,000 (18,000 to 24,000) messages/s |" in peers


def test_the_page_of_own_rows_alone_has_one_table_and_its_places() -> None:
    page = markdown([sample_row(), sample_row("consume")])
    assert "## Other brokers" not in page
    assert (
        "| 2026-01-31 | Linux x86_64, 2 cores, ext4 | 3.11.7 | 0.1.0 | produce, consume |" in page
    )


def test_every_line_of_a_table_has_as_many_cells_as_its_head() -> None:
    reach = Reach("growth", "at most", 64, "MiB", "(of all)")
    page = markdown([sample_row(), sample_row("idle", ratio=None, reach=reach, value=spread(1))])
    tables = [block for block in page.split("\n\n") if block.startswith("|")]
    assert len(tables) == 2
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_the_picture_is_shown_where_there_is_one() -> None:
    assert "](benchmarks.svg)" in markdown([sample_row()], "benchmarks.svg")
    assert "![" not in markdown([sample_row()])


def test_notes_are_listed_below_the_table() -> None:
    assert "- batches of 500: from wrk\n" in markdown([sample_row(note="from wrk")])
