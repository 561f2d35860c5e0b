"""The page on `/`: the most unusual queues in words and in a table, and the scripts that keep it up to date.

In comes what may be shown, out goes HTML that is already useful without a script: the troubles in sentences, the worst
rows, the age of the data. The scripts beside this file (static/) take over from there by /api/live. Names are hostile:
they are escaped here and only ever become text there. The Content-Security-Policy allows the files below and the
exporter's own routes, nothing inline and no other host; Trusted Types keep markup from being made of strings.
"""

from __future__ import annotations

import hashlib
from html import escape
from importlib.resources import files
from string import Template

import numpy as np
from aiohttp import web
from aiohttp.typedefs import Handler

from exporter.models import ABANDONMENT, OFFERED, SLA_BREACH, FloatColumn
from exporter.publish.live_answers import tagged
from exporter.publish.live_findings import FLAGGED, METRICS, TROUBLE, Finding, Ranking, findings, headline, rank
from exporter.publish.once import Document
from exporter.publish.shown import NO_SNAPSHOT, SUCCESS, Shown

#: Rows in the page itself; the script lists them all.
WORST = 30

HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
}

_TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml; charset=utf-8",
}
_FOLDER = files("exporter.publish").joinpath("static")
_FILES = {
    each.name: each.read_bytes()
    for each in sorted(_FOLDER.iterdir(), key=lambda each: each.name)
    if each.name.rpartition(".")[2] in _TYPES
}
_PAGE = Template(_FOLDER.joinpath("page.html").read_text("utf-8"))

#: Changes with every file of the page: an open page sees that the exporter behind it is another version.
VERSION = hashlib.blake2b(b"\0".join([_PAGE.template.encode(), *_FILES.values()]), digest_size=6).hexdigest()

_SCRIPTS = [name for name in _FILES if name.endswith(".js")]
_PRELOADS = "\n".join(
    [f'<link rel="modulepreload" href="/static/{name}">' for name in _SCRIPTS if name != "page.js"]
    + ['<script type="module" src="/static/page.js"></script>']
)

# One markup for the rows written here and, left blank, for those that the script fills: by `data-to`.
_ROW = Template(
    '<tr role="row"><th role="rowheader" scope="row" class="queue"><span class="name" data-to="name">$name</span>'
    '<span class="sub" data-to="about">$about</span></th>'
    '<td role="cell" class="num unusual"><span class="z $grade" data-to="z">$z</span>'
    '<span class="sub" data-to="metric">$metric</span></td>'
    '<td role="cell" class="num" data-label="Abandoned"><span class="value"><small data-to="abandonedZ">$abandoned_z'
    '</small> <span data-to="abandoned">$abandoned</span></span>'
    '<span class="sub" data-to="abandonedUsual">$abandoned_usual</span></td>'
    '<td role="cell" class="num" data-label="Missed SL"><span class="value"><small data-to="breachedZ">$breached_z'
    '</small> <span data-to="breached">$breached</span></span>'
    '<span class="sub" data-to="breachedUsual">$breached_usual</span></td>'
    '<td role="cell" class="num" data-label="Offered"><span class="value"><small data-to="offeredZ">$offered_z'
    '</small> <span data-to="offered">$offered</span></span>'
    '<span class="sub" data-to="offeredUsual">$offered_usual</span></td>'
    '<td role="cell" class="num" data-label="Waiting"><span class="value" data-to="waiting">$waiting</span>'
    '<span class="sub" data-to="longest"></span></td>'
    '<td role="cell" class="num" data-label="Agents free"><span class="value" data-to="agents"></span>'
    '<span class="sub" data-to="agentsOf"></span></td>'
    '<td role="cell" class="trend"><svg data-to="trend" aria-hidden="true"></svg>'
    '<span class="unseen" data-to="trendText"></span></td></tr>'
)
_FINDING = Template(
    '<li><p class="what"><strong data-to="name">$name</strong> <span data-to="media">$media</span>: '
    '<b data-to="text">$text</b></p><p class="more" data-to="more">$more</p>'
    '<svg data-to="trend" aria-hidden="true"></svg></li>'
)
_METRIC_WORDS = {ABANDONMENT: "abandoned", SLA_BREACH: "service level", OFFERED: "offered"}
_GRADE_CLASSES = {TROUBLE: "trouble", FLAGGED: "flagged"}


class _Blank(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return ""


def add_static_routes(app: web.Application) -> None:
    """The files that the page needs, from memory."""
    for name, body in _FILES.items():
        app.router.add_get(f"/static/{name}", _file(name, body))


def _file(name: str, body: bytes) -> Handler:
    document, tag = Document(lambda: body), hashlib.blake2b(body, digest_size=9).hexdigest()

    async def answer(request: web.Request) -> web.StreamResponse:
        return await tagged(request, tag, document, _TYPES[name.rpartition(".")[2]])

    return answer


def render(shown: Shown | None) -> bytes:
    """The page as UTF-8."""
    told = _told(shown) if shown is not None and shown.status == SUCCESS else _silent(shown)
    common = {
        "version": VERSION,
        "preloads": _PRELOADS,
        "blank_row": _ROW.substitute(_Blank()),
        "blank_finding": _FINDING.substitute(_Blank()),
    }
    return _PAGE.substitute(_Blank(common | told)).encode("utf-8", "replace")


def _silent(shown: Shown | None) -> dict[str, str]:
    """Nothing may be shown; why."""
    why = escape(shown.message if shown else NO_SNAPSHOT)
    words = {"standing": "No data", "alarm": f"{why[:1].upper()}{why[1:]}.", "alarm_hidden": "", "headline": "No data"}
    return words | {"shown_rows": "0", "all_rows": "0", "threshold": "the threshold"}


def _told(shown: Shown) -> dict[str, str]:
    ranking, snapshot = rank(shown), shown.snapshot
    worst = ranking.order[:WORST].tolist()
    window = f"{snapshot.window.start:%H:%M} to {snapshot.window.end:%H:%M} UTC" if snapshot.window else ""
    return {
        "standing": f"As of {snapshot.created:%Y-%m-%d %H:%M} UTC",
        "alarm": "",
        "alarm_hidden": " hidden",
        "headline": escape(headline(shown, ranking)),
        "when": f"Contacts of {window}",
        "findings": "".join(_finding(each) for each in findings(shown, ranking)),
        "rows": "\n".join(_row(shown, ranking, row) for row in worst),
        "shown_rows": str(len(worst)),
        "all_rows": str(shown.rows),
        "threshold": f"{shown.scores.threshold:g}" if shown.scores else "the threshold",
    }


def _finding(found: Finding) -> str:
    media = f"({found.media_type})" if found.media_type else ""
    words = {"name": found.name, "media": media, "text": found.text, "more": found.more}
    return _FINDING.substitute({key: escape(word) for key, word in words.items()})


def _row(shown: Shown, ranking: Ranking, row: int) -> str:
    key, worst = shown.snapshot.rows.keys[row], int(ranking.worst[row])
    metric = METRICS[worst] if worst >= 0 else None
    words = {
        "name": shown.snapshot.rows.names[row],
        "about": key.media_type,
        "grade": _GRADE_CLASSES.get(int(ranking.grade[row]), ""),
        "z": _number(shown.z(metric), row, "+.1f") if metric else "–",
        "metric": _METRIC_WORDS[metric] if metric else "",
        "abandoned": _number(shown.column("abandonment_ratio") * 100, row, ".1f", " %"),
        "abandoned_z": _z(shown, ABANDONMENT, row),
        "abandoned_usual": _usual(shown, ABANDONMENT, row),
        "breached": _number(shown.column("sla_breach_ratio") * 100, row, ".1f", " %"),
        "breached_z": _z(shown, SLA_BREACH, row),
        "breached_usual": _usual(shown, SLA_BREACH, row),
        "offered": _number(shown.column("offered"), row, ".0f"),
        "offered_z": _z(shown, OFFERED, row),
        "offered_usual": _usual(shown, OFFERED, row),
        "waiting": _number(shown.column("waiting"), row, ".0f"),
    }
    return _ROW.substitute({name: escape(word) for name, word in words.items()})


def _usual(shown: Shown, metric: str, row: int) -> str:
    score = shown.scores.metrics.get(metric) if shown.scores else None
    if score is None or not np.isfinite(score.mean[row]):
        return ""
    factor = 1 if metric == OFFERED else 100
    spread = f" ± {score.stddev[row] * factor:.1f}" if np.isfinite(score.stddev[row]) else ""
    return f"usually {score.mean[row] * factor:.1f}{spread}"


def _z(shown: Shown, metric: str, row: int) -> str:
    """Silent where nothing is scored; a dash there would be noise."""
    z = float(shown.z(metric)[row])
    return f"z {z:+.1f}" if np.isfinite(z) else ""


def _number(column: FloatColumn, row: int, form: str, unit: str = "") -> str:
    value = float(column[row])
    return f"{format(value, form)}{unit}" if np.isfinite(value) else "–"
