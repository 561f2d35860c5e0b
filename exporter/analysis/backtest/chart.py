"""One queue's past as a picture: its values, the band of the baseline, and what was flagged.

Comes in: the scores of a walk (`Track` is a sink) for one queue. Goes out: a file that needs no library and no network:
a page with a drawing (`.html`), the drawing alone (`.svg`), or pixels (`.png`). What is drawn is decided here, once, as
`shapes`; `svg` and `png` only know how.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from exporter.analysis.backtest.opening import BacktestError
from exporter.analysis.backtest.png import png
from exporter.analysis.backtest.reading import Past
from exporter.analysis.backtest.shapes import Area, Dot, Drawing, Line, Shape, Text
from exporter.analysis.backtest.svg import page, svg
from exporter.analysis.scoring.walk import Step

#: A picture shows the newest two weeks: more would be thinner than a pixel.
SHOWN_SECONDS = 14 * 86_400
WIDTH, HEIGHT, LEFT, RIGHT, TOP, GAP = 1200, 220, 70, 30, 70, 60
DARK, QUIET, GRID, BAND, MIDDLE, RED = "#323f4b", "#616e7c", "#e4e7eb", "#cfeaff", "#4098d7", "#cf1124"


@dataclass(slots=True)
class Panel:
    """One metric over time; a missing value is NaN."""

    starts: list[int] = field(default_factory=list)
    value: list[float] = field(default_factory=list)
    mean: list[float] = field(default_factory=list)
    stddev: list[float] = field(default_factory=list)
    flagged: list[bool] = field(default_factory=list)

    def forget(self, until_seconds: int) -> None:
        """Lets go of what lies before."""
        old = bisect_left(self.starts, until_seconds)
        if old:
            for column in (self.starts, self.value, self.mean, self.stddev, self.flagged):
                del column[:old]


@dataclass(slots=True)
class Track:
    """A sink that keeps one series' scores by one method."""

    title: str
    column: int
    method: str
    threshold: float
    panels: dict[str, Panel] = field(default_factory=dict)

    @classmethod
    def of(cls, past: Past, column: int, method: str, threshold: float) -> Track:
        """The series in that column of the file."""
        return cls(f"{past.names[column]} {past.keys[column].media_type}".strip(), column, method, threshold)

    def __call__(self, method_name: str, step: Step) -> None:
        if method_name != self.method:
            return
        for metric, scores in step.scores.metrics.items():
            panel = self.panels.setdefault(metric, Panel())
            panel.starts.append(step.start_seconds)
            for name in ("value", "mean", "stddev"):
                getattr(panel, name).append(float(getattr(scores, name)[self.column]))
            panel.flagged.append(bool(scores.anomaly[self.column] == 1))
            panel.forget(step.start_seconds - SHOWN_SECONDS)


#: Ending of the file → how it is written.
FORMS: Mapping[str, Callable[[Drawing], bytes]] = {".html": page, ".svg": svg, ".png": png}


def require_chart(path: Path) -> None:
    """Refuses a path whose ending names no form of a picture."""
    if path.suffix.lower() not in FORMS:
        raise BacktestError(f"{path}: a chart is written as {' or '.join(FORMS)}")


def write_chart(track: Track, path: Path) -> None:
    """Draws to `path`; its ending says in which form."""
    require_chart(path)
    path.write_bytes(FORMS[path.suffix.lower()](drawing(track)))


def drawing(track: Track) -> Drawing:
    """All panels, one under the other."""
    height = TOP + (HEIGHT + GAP) * len(track.panels)
    title = f"{track.title} · {track.method}"
    legend = (
        f"Dots: buckets (UTC). Line and band: baseline mean ± {track.threshold:g} standard deviations. Red: flagged."
        " At most the newest 14 days."
    )
    shapes: list[Shape] = [Text(LEFT, 20, title, "start", DARK), Text(LEFT, 38, legend, "start", QUIET)]
    for row, (metric, panel) in enumerate(track.panels.items()):
        shapes += _panel(metric, panel, track.threshold, TOP + (HEIGHT + GAP) * row)
    return Drawing(title, LEFT + WIDTH + RIGHT, height, tuple(shapes))


@dataclass(frozen=True, slots=True)
class _Scale:
    """From time and value to places on the drawing."""

    first: int
    last: int
    highest: float
    top: int

    def x(self, seconds: int) -> float:
        return LEFT + WIDTH * (seconds - self.first) / max(1, self.last - self.first)

    def y(self, value: float) -> float:
        return self.top + HEIGHT * (1 - min(max(value / self.highest, 0), 1))


def _panel(metric: str, panel: Panel, threshold: float, top: int) -> Iterator[Shape]:
    known = [value for value in panel.value if value == value]
    highest = max([*known, *(mean for mean in panel.mean if mean == mean), 1e-9])
    scale = _Scale(panel.starts[0], panel.starts[-1], highest, top)
    yield Text(LEFT, top - 8, metric, "start", DARK)
    yield from _band(panel, threshold, scale)
    yield from _axes(metric, panel, scale)
    yield from _middle(panel, scale)
    yield from _dots(metric, panel, scale)


def _axes(metric: str, panel: Panel, scale: _Scale) -> Iterator[Shape]:
    for share in (0, 0.5, 1):
        y = scale.y(share * scale.highest)
        yield Line(((LEFT, y), (LEFT + WIDTH, y)), GRID)
        yield Text(LEFT - 6, y + 4, _number(metric, share * scale.highest), "end", QUIET)
    for share, anchor in ((0, "start"), (0.25, "middle"), (0.5, "middle"), (0.75, "middle"), (1, "end")):
        moment = int(panel.starts[0] + share * (panel.starts[-1] - panel.starts[0]))
        yield Text(scale.x(moment), scale.top + HEIGHT + 18, _moment(moment), anchor, QUIET)


def _number(metric: str, value: float) -> str:
    return f"{value:.0%}" if metric.endswith("_ratio") else f"{value:.3g}"


def _moment(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"


def _band(panel: Panel, threshold: float, scale: _Scale) -> Iterator[Shape]:
    for rows in _stretches(panel):
        high, low = (
            tuple(
                (scale.x(panel.starts[row]), scale.y(panel.mean[row] + side * threshold * panel.stddev[row]))
                for row in rows
            )
            for side in (1, -1)
        )
        yield Area(high, low, BAND)


def _middle(panel: Panel, scale: _Scale) -> Iterator[Shape]:
    for rows in _stretches(panel):
        yield Line(tuple((scale.x(panel.starts[row]), scale.y(panel.mean[row])) for row in rows), MIDDLE)


def _stretches(panel: Panel) -> Iterator[Sequence[int]]:
    """Unbroken runs of buckets with a baseline."""
    stretch: list[int] = []
    for row, (mean, stddev) in enumerate(zip(panel.mean, panel.stddev, strict=True)):
        if mean == mean and stddev == stddev:
            stretch.append(row)
        elif stretch:
            yield stretch
            stretch = []
    if stretch:
        yield stretch


def _dots(metric: str, panel: Panel, scale: _Scale) -> Iterator[Shape]:
    """The flagged last, so that nothing hides them."""
    for red in (False, True):
        for row, value in enumerate(panel.value):
            if value == value and panel.flagged[row] is red:
                told = f"{_moment(panel.starts[row])} {_number(metric, value)}"
                look = (4.0, RED) if red else (1.6, DARK)
                yield Dot(scale.x(panel.starts[row]), scale.y(value), *look, told)
