"""Wherever a crash comes, and whatever it leaves of what was not synced, all promises hold."""

import logging

import pytest

from tests.crash.states import survey


@pytest.mark.parametrize("seed", range(1, 7))
def test_no_image_of_any_moment_loses_repeats_or_moves_a_message(
    seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "pandaq")
    found = survey(seed, lives=2, steps=18)
    # Were moments missed or images all alike, all would pass with nothing looked at.
    assert found.lives == 2
    assert found.moments > 200
    assert found.enumerated > 100
    assert found.images > 3_000
    assert found.distinct > 1_500
    assert found.again > 250
