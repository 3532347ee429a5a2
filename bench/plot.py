"""The picture beside the table: rates beside those of others, and limits beside what is used."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.row import Reach, Row, Skipped
from pandaq.benchmark.spread import number

INK: Final = "#22303c"
MUTED: Final = "#6b7a86"
GRID: Final = "#e3e8ec"
OWN: Final = "#2f6f9f"
PEER: Final = "#a9c3d6"
REACH: Final = "#c4552d"
ROW_HEIGHT: Final = 0.42
MARGIN_HEIGHT: Final = 1.1
WIDTH: Final = 10.0


MOST_PERCENT: Final = 200.0
"""A bar beyond this share of its limit is cut off; its figure stands beside it."""
TICKS: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)


class Bar(NamedTuple):
    """A bar of a panel: where it ends, from where to where the runs lie, and the mark to reach."""

    label: str
    value: float
    low: float
    high: float
    mark: float | None
    text: str
    color: str = OWN


def ratio_bars(rows: Sequence[Row]) -> list[Bar]:
    """Return a bar for each rate that has another beside it: how many times as much it is."""
    return [
        Bar(
            label=f"{row.title}\nagainst {_short(row.against)}",
            value=row.ratio.median,
            low=row.ratio.low,
            high=row.ratio.high,
            mark=row.reach.limit if row.reach and row.reach.of == "ratio" else None,
            text=number(row.ratio.median),
            color=PEER if row.is_peer else OWN,
        )
        for row in rows
        if row.ratio and row.unit.endswith("/s")
    ]


def limit_bars(rows: Sequence[Row]) -> list[Bar]:
    """Return a bar for each row with an upper limit: what share of it is used, in percent."""
    return [
        _limit_bar(row, row.reach) for row in rows if row.reach and row.reach.bound == "at most"
    ]


def draw(rows: Sequence[Row], path: Path) -> Skipped | None:
    """Draw the picture of some rows, as SVG; say so where it cannot be drawn."""
    if importlib.util.find_spec("matplotlib") is None:
        sentence = "the Python package matplotlib is not installed; pip install '.[bench]'"
        return Skipped("the picture", sentence)
    panels = [
        (draw_panel, bars)
        for draw_panel, bars in ((_draw_ratios, ratio_bars(rows)), (_draw_limits, limit_bars(rows)))
        if bars
    ]
    if not panels:
        return Skipped("the picture", "no row has anything to be drawn beside it")
    import matplotlib as mpl  # noqa: PLC0415

    mpl.use("svg")
    import matplotlib.pyplot as plt  # noqa: PLC0415

    heights = [len(bars) * ROW_HEIGHT + MARGIN_HEIGHT for _, bars in panels]
    with plt.rc_context({"font.size": 9, "svg.hashsalt": "pandaq"}):
        figure, axes = plt.subplots(
            *(len(panels), 1),
            figsize=(WIDTH, sum(heights)),
            height_ratios=heights,
            squeeze=False,
            layout="constrained",
        )
        for (draw_panel, bars), (panel,) in zip(panels, axes, strict=True):
            draw_panel(panel, bars)
        figure.savefig(path, facecolor="white", metadata={"Date": None})
        plt.close(figure)
    return None


def _limit_bar(row: Row, reach: Reach) -> Bar:
    is_growth = reach.of == "growth" and row.other is not None
    ground = row.other.median if is_growth and row.other else 0.0
    value, low, high = (
        max(each - ground, 0) / reach.limit * 100
        for each in (row.value.median, row.value.low, row.value.high)
    )
    used = row.value.median - ground
    sign = "+" if is_growth and used >= 0 else ""
    text = f"{sign}{number(used)} of {reach.limit:,.3g} {reach.unit}"
    return Bar(row.title, value, low, high, 100, text)


def _draw_ratios(panel: Any, bars: Sequence[Bar]) -> None:
    ends = [end for bar in bars for end in (bar.low, bar.high, bar.mark or bar.value)]
    panel.set_xscale("log")
    panel.set_xlim(min(*ends, 0.5) / 1.3, max(*ends, 2) * 1.8)
    panel.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS])
    panel.minorticks_off()
    panel.set_xlim(min(*ends, 0.5) / 1.3, max(*ends, 2) * 1.8)
    panel.axvline(1, color=MUTED, linewidth=1, zorder=1)
    what = "times the other's rate; pale: other brokers"
    _draw_bars(panel, bars, 1, "Rates, beside what they are compared with", what)


def _draw_limits(panel: Any, bars: Sequence[Bar]) -> None:
    most = min(max(*(bar.high for bar in bars), 100), MOST_PERCENT)
    panel.set_xlim(0, most * 1.3)
    cut = [
        bar._replace(**{end: min(getattr(bar, end), most) for end in ("value", "low", "high")})
        for bar in bars
    ]
    _draw_bars(panel, cut, 0, "Limits, and how much of them is used", "percent of the limit")


def _draw_bars(panel: Any, bars: Sequence[Bar], ground: float, title: str, axis: str) -> None:
    places = range(len(bars), 0, -1)
    for place, bar in zip(places, bars, strict=True):
        panel.barh(
            *(place, bar.value - ground), left=ground, height=0.58, color=bar.color, zorder=2
        )
        panel.plot([bar.low, bar.high], [place, place], color=INK, linewidth=1.2, zorder=3)
        if bar.mark is not None:
            ends = [place - 0.4, place + 0.4]
            panel.plot([bar.mark] * 2, ends, color=REACH, linewidth=2, zorder=4)
        panel.annotate(
            *(bar.text, (max(bar.value, bar.high, ground, bar.mark or 0), place)),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            color=INK,
        )
    panel.set_yticks(list(places), [bar.label for bar in bars])
    panel.set_title(title, loc="left", color=INK, fontweight="bold", fontsize=11)
    panel.set_xlabel(f"{axis}; red: what should be reached", color=MUTED, loc="left")
    panel.set_ylim(0.4, len(bars) + 0.6)
    panel.grid(axis="x", color=GRID, zorder=0)
    panel.tick_params(length=0, labelcolor=INK)
    for side in panel.spines.values():
        side.set_visible(False)


def _short(against: str) -> str:
    """Return what something is compared with, up to its first comma."""
    return against.partition(",")[0]
