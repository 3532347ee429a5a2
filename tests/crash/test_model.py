"""The HTTP API against a plain model, through requests, ends and a failing disk."""

import logging

import pytest

from tests.crash.model import counts, run


def test_no_sequence_of_requests_and_ends_loses_repeats_or_moves_a_message(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL, "pandaq")
    counts.clear()
    run(examples=40)
    # Were a rule never run, the machine would say nothing of it and all would pass.
    assert counts["POST ingress"] > 100
    assert counts["POST commit"] > 30
    assert counts["POST register"] > 20
    assert counts["GET consume"] > 1_000
    assert counts["kills"] > 10
    assert counts["crashes"] > 10
