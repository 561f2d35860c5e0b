"""One queue's past as a picture: its values, the band of the baseline, and what was flagged.

Comes in: the scores of a walk (`Track` is a sink) for one queue. Goes out: a page with an SVG drawing that needs no
library and no network (`.html`, `.svg`), or a PNG by matplotlib where that is installed.
"""

from __future__ import annotations

import importlib
import importlib.util
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape
from pathlib import Path

from exporter.analysis.backtest.reading import BacktestError, Past
from exporter.analysis.scoring.walk import Step

#: A picture shows the newest two weeks: more would be thinner than a pixel.
SHOWN_SECONDS = 14 * 86_400
WIDTH, HEIGHT, LEFT, TOP, GAP = 1200, 220, 70, 30, 50


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
    """A sink that keeps one queue's scores by one method."""

    title: str
    column: int
    method: str
    threshold: float
    panels: dict[str, Panel] = field(default_factory=dict)

    @classmethod
    def of(cls, past: Past, queue: str, method: str, threshold: float) -> Track:
        """The first series whose queue has this id or name."""
        for column, (key, name) in enumerate(zip(past.keys, past.names, strict=True)):
            if queue in (key.queue_id, name):
                return cls(f"{name} {key.media_type}".strip(), column, method, threshold)
        known = ", ".join(sorted(set(past.names))[:10])
        raise BacktestError(f"no queue {queue!r} in the file; it holds {known}")

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


def write_chart(track: Track, path: Path) -> None:
    """Draws to `path`; its ending says in which form."""
    forms = {".html": _html, ".svg": _svg}
    ending = path.suffix.lower()
    if ending == ".png":
        _write_png(track, path)
    elif ending in forms:
        path.write_text(forms[ending](track), encoding="utf-8")
    else:
        raise BacktestError(f"{path}: a chart is written as .html, .svg or .png")


def _html(track: Track) -> str:
    title = escape(f"{track.title} · {track.method}")
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        "<style>body{font:14px system-ui,sans-serif;margin:2rem;color:#1f2933}svg{max-width:100%;height:auto}</style>"
        f"<h1>{title}</h1><p>Dots: buckets. Band: baseline mean ± {track.threshold:g} standard deviations."
        f" Red: flagged.</p>{_svg(track)}</html>\n"
    )


def _svg(track: Track) -> str:
    height = TOP + (HEIGHT + GAP) * len(track.panels)
    drawn = "".join(
        "".join(_panel(metric, panel, track.threshold, TOP + (HEIGHT + GAP) * row))
        for row, (metric, panel) in enumerate(track.panels.items())
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH + LEFT + 20} {height}" role="img"'
        f' font-family="system-ui,sans-serif" font-size="12">{drawn}</svg>'
    )


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


def _panel(metric: str, panel: Panel, threshold: float, top: int) -> Iterator[str]:
    known = [value for value in panel.value if value == value]
    highest = max([*known, *(mean for mean in panel.mean if mean == mean), 1e-9])
    scale = _Scale(panel.starts[0], panel.starts[-1], highest, top)
    yield f'<text x="{LEFT}" y="{top - 8}" font-weight="600">{escape(metric)}</text>'
    for share in (0, 0.5, 1):
        y = scale.y(share * highest)
        yield f'<line x1="{LEFT}" x2="{LEFT + WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e4e7eb"/>'
        label = _number(metric, share * highest)
        yield f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" fill="#616e7c">{label}</text>'
    for share, anchor in ((0, "start"), (0.25, "middle"), (0.5, "middle"), (0.75, "middle"), (1, "end")):
        moment = int(panel.starts[0] + share * (panel.starts[-1] - panel.starts[0]))
        yield (
            f'<text x="{scale.x(moment):.1f}" y="{top + HEIGHT + 16}" text-anchor="{anchor}" fill="#616e7c">'
            f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M}</text>"
        )
    yield from _band(panel, threshold, scale)
    yield from _dots(metric, panel, scale)


def _number(metric: str, value: float) -> str:
    return f"{value:.0%}" if metric.endswith("_ratio") else f"{value:.3g}"


def _band(panel: Panel, threshold: float, scale: _Scale) -> Iterator[str]:
    """The band and its middle, a shape for each unbroken stretch."""
    for rows in _stretches(panel):
        high, middle, low = (
            [
                f"{scale.x(panel.starts[row]):.1f},{scale.y(panel.mean[row] + reach * panel.stddev[row]):.1f}"
                for row in rows
            ]
            for reach in (threshold, 0, -threshold)
        )
        yield f'<polygon points="{" ".join(high + low[::-1])}" fill="#bae3ff" opacity="0.6"/>'
        yield f'<polyline points="{" ".join(middle)}" fill="none" stroke="#4098d7"/>'


def _stretches(panel: Panel) -> Iterator[Sequence[int]]:
    stretch: list[int] = []
    for row, (mean, stddev) in enumerate(zip(panel.mean, panel.stddev, strict=True)):
        if mean == mean and stddev == stddev:
            stretch.append(row)
        elif stretch:
            yield stretch
            stretch = []
    if stretch:
        yield stretch


def _dots(metric: str, panel: Panel, scale: _Scale) -> Iterator[str]:
    for row, value in enumerate(panel.value):
        if value == value:
            moment = f"{datetime.fromtimestamp(panel.starts[row], UTC):%Y-%m-%d %H:%M}"
            look = 'r="4" fill="#cf1124"' if panel.flagged[row] else 'r="1.6" fill="#323f4b"'
            yield (
                f'<circle cx="{scale.x(panel.starts[row]):.1f}" cy="{scale.y(value):.1f}" {look}>'
                f"<title>{moment} {_number(metric, value)}</title></circle>"
            )


def _write_png(track: Track, path: Path) -> None:
    if importlib.util.find_spec("matplotlib") is None:
        raise BacktestError(f"{path}: a PNG needs matplotlib: pip install matplotlib, or write a .html instead")
    figure = importlib.import_module("matplotlib.figure").Figure(
        figsize=(14, 3 * len(track.panels)), layout="constrained"
    )
    axes = figure.subplots(len(track.panels), 1, squeeze=False)[:, 0]
    for axis, (metric, panel) in zip(axes, track.panels.items(), strict=True):
        times = [datetime.fromtimestamp(start, UTC) for start in panel.starts]
        low, high = (
            [mean + side * track.threshold * stddev for mean, stddev in zip(panel.mean, panel.stddev, strict=True)]
            for side in (-1, 1)
        )
        axis.fill_between(times, [value if value != value else max(value, 0) for value in low], high, alpha=0.3)
        axis.plot(times, panel.mean, linewidth=1)
        axis.scatter(times, panel.value, s=3, color="#323f4b")
        red = [row for row, flagged in enumerate(panel.flagged) if flagged]
        axis.scatter([times[row] for row in red], [panel.value[row] for row in red], s=24, color="#cf1124")
        axis.set_title(f"{track.title} · {metric} · {track.method}", loc="left")
    figure.savefig(path)
