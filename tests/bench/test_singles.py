"""What wrk says."""

import pytest

from bench.singles import WrkFailed, parse_wrk

REPORT = """\
Running 4s test @ http://127.0.0.1:40001/ingress/orders
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency    13.41ms    3.68ms  42.61ms   85.36%
    Req/Sec     2.39k   161.48     2.60k    90.00%
  9522 requests in 4.00s, 2.54MB read
{}Requests/sec:   2378.44
Transfer/sec:    650.36KB
"""


def test_the_rate_is_read_from_a_report() -> None:
    assert parse_wrk(REPORT.format("")) == 2378.44


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("  Non-2xx or 3xx responses: 17\n", "17 answers were no success"),
        ("  Socket errors: connect 0, read 0, write 0, timeout 3\n", "timeout 3"),
    ],
)
def test_a_report_with_failures_is_no_measurement(line: str, said: str) -> None:
    with pytest.raises(WrkFailed, match=said):
        parse_wrk(REPORT.format(line))


@pytest.mark.parametrize("report", ["", "unable to connect to 127.0.0.1:1", "Requests/sec: 0.00"])
def test_what_is_no_report_is_no_measurement(report: str) -> None:
    with pytest.raises(WrkFailed, match="nothing was answered"):
        parse_wrk(report)
