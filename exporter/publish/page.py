"""The landing page on `/`: the queues that are most unusual now, and where everything else is.

In comes what may be shown, out goes HTML without scripts; names are escaped, and the Content-Security-Policy allows
the one style sheet beside this file and nothing else.
"""

from __future__ import annotations

from html import escape
from importlib.resources import files

import numpy as np
from aiohttp import web

from exporter.models import ABANDONMENT, SLA_BREACH, FloatColumn
from exporter.publish.shown import NO_SNAPSHOT, Shown
from exporter.publish.times import interval

WORST = 50

HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'none'",
}

_STYLE = files("exporter.publish").joinpath("static/page.css").read_bytes()

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>genesys-cloud-exporter</title>
<link rel="stylesheet" href="/static/page.css">
</head>
<body>
<h1>genesys-cloud-exporter</h1>
<p>{status}</p>
<nav><a href="/metrics">/metrics</a> <a href="/dashboard">/dashboard</a>
<a href="/api/dashboard/metrics">/api/dashboard/metrics</a> <a href="/export.csv">/export.csv</a>
<a href="/-/ready">/-/ready</a> <a href="/-/healthy">/-/healthy</a></nav>
{table}
</body>
</html>
"""

_HEAD = (
    "<table><caption>Most unusual queues first</caption><thead><tr><th scope=col>Queue<th scope=col>Media"
    "<th scope=col>Offered<th scope=col>Abandoned %<th scope=col>z<th scope=col>SLA missed %<th scope=col>z"
    "<th scope=col>Waiting</tr></thead><tbody>"
)


def add_static_routes(app: web.Application) -> None:
    """The files that the page needs, from memory."""

    async def style(request: web.Request) -> web.Response:
        return web.Response(
            body=_STYLE, headers={"Content-Type": "text/css; charset=utf-8", "Cache-Control": "no-cache"}
        )

    app.router.add_get("/static/page.css", style)


def render(shown: Shown | None) -> bytes:
    """The page as UTF-8."""
    if shown is None or shown.message:
        return _filled(shown.message if shown else NO_SNAPSHOT, "")
    window = shown.snapshot.window
    when = interval(window, shown.snapshot.bucket) if window else ""
    return _filled(f"{shown.rows} series of queues, window {when}", _HEAD + "".join(_rows(shown)) + "</tbody></table>")


def _filled(status: str, table: str) -> bytes:
    return _PAGE.format(status=escape(status), table=table).encode("utf-8", "replace")


def _rows(shown: Shown) -> list[str]:
    z = {metric: shown.z(metric) for metric in (ABANDONMENT, SLA_BREACH)}
    columns: list[tuple[FloatColumn, str]] = [
        (shown.column("offered"), ".0f"),
        (shown.column("abandonment_ratio") * 100, ".1f"),
        (z[ABANDONMENT], "+.1f"),
        (shown.column("sla_breach_ratio") * 100, ".1f"),
        (z[SLA_BREACH], "+.1f"),
        (shown.column("waiting"), ".0f"),
    ]
    worst = np.argsort(-np.fmax(np.nan_to_num(z[ABANDONMENT]), np.nan_to_num(z[SLA_BREACH])), kind="stable")[:WORST]
    return [_row(shown, position, columns) for position in worst.tolist()]


def _row(shown: Shown, position: int, columns: list[tuple[FloatColumn, str]]) -> str:
    rows = shown.snapshot.rows
    numbers = (_number(column[position], form) for column, form in columns)
    cells = [escape(rows.names[position]), escape(rows.keys[position].media_type), *numbers]
    return "<tr><td>" + "<td>".join(cells) + "</tr>"


def _number(value: float, form: str) -> str:
    return format(value, form) if np.isfinite(value) else "–"
