"""What samples over time say."""

from bench.parts.sustained import Sample, figures


def test_the_outer_quarters_show_what_grows() -> None:
    samples = [
        Sample(at_s=n, accepted=1000 * n, routed=999 * n, buffered=n, resident_mib=50 + n)
        for n in range(100)
    ]
    found = figures(samples)
    assert (found["accepted"], found["routed"]) == (1000, 999)
    assert (found["buffered: first"], found["buffered: last"], found["buffered: most"]) == (
        *(12, 87),
        99,
    )
    assert found["resident_mib: last"] - found["resident_mib: first"] == 75
    assert found["leftover"] == 99


def test_one_outlier_is_the_maximum_and_no_growth() -> None:
    samples = [Sample(n, n, n, 5, 40) for n in range(20)]
    samples[-2] = samples[-2]._replace(buffered=5000)
    found = figures(samples)
    assert found["buffered: last"] == found["buffered: first"] == 5
    assert found["buffered: most"] == 5000
