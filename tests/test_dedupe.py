"""Which messageIds came lately."""

from hypothesis import given
from hypothesis import strategies as st

from pandaq.dedupe import SeenIds


def test_what_is_discarded_is_new_again() -> None:
    seen = SeenIds(10, 10)
    seen.add(["a", "b"], 0)
    seen.discard(["a", "never"])
    assert (seen.has("a", 0), seen.has("b", 0), len(seen)) == (False, True, 1)


def test_the_oldest_are_forgotten_early_where_there_are_too_many_and_counted() -> None:
    seen = SeenIds(1_000, 3)
    seen.add(["a", "b", "c"], 0)
    assert (len(seen), seen.forgotten) == (3, 0)
    seen.add(["d"], 1)
    assert (seen.has("a", 1), seen.has("b", 1), seen.has("d", 1)) == (False, True, True)
    assert (len(seen), seen.forgotten) == (3, 1)


def test_what_is_over_takes_no_memory_and_counts_as_no_early_loss() -> None:
    seen = SeenIds(10, 3)
    seen.add(["a", "b", "c"], 0)
    seen.add(["d"], 11)
    assert (len(seen), seen.forgotten) == (1, 0)


def test_an_id_that_comes_again_after_its_time_is_the_youngest() -> None:
    seen = SeenIds(10, 2)
    seen.add(["a"], 0)
    seen.add(["b"], 5)
    seen.add(["a"], 11)
    seen.add(["c"], 12)
    assert (seen.has("a", 12), seen.has("b", 12), seen.has("c", 12)) == (True, False, True)


@given(
    calls=st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 8)), max_size=40),
    most=st.integers(1, 8),
)
def test_memory_is_bounded_and_within_the_bound_nothing_is_forgotten(
    calls: list[tuple[str, int]], most: int
) -> None:
    seen, times, now_ms = SeenIds(10, most), dict[str, int](), 0
    for message_id, passes_ms in calls:
        now_ms += passes_ms
        if not seen.has(message_id, now_ms):
            seen.add([message_id], now_ms)
            times[message_id] = now_ms
        assert len(seen) <= most
        if most >= 6:
            expected = {key for key, time in times.items() if now_ms - time <= 10}
            assert {key for key in "abcdef" if seen.has(key, now_ms)} == expected
            assert seen.forgotten == 0
