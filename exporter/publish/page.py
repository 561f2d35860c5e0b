"""The page on `/`: the most unusual queues in words and in a table, and the scripts that keep it up to date.

In comes what may be shown, out goes HTML that is already useful without a script: the troubles in sentences, the worst
rows, what has failed, the age of the data. It is made anew for every request, so that nothing is shown that has been
withdrawn since. The scripts beside this file (static/) take over from there by /api/live. Names are hostile:
they are escaped here and only ever become text there. The Content-Security-Policy allows the files below and the
exporter's own routes, nothing inline and no other host; Trusted Types keep markup from being made of strings.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from html import escape
from importlib.resources import files
from string import Template

import numpy as np
from aiohttp import web
from aiohttp.typedefs import Handler

from exporter.models import ABANDONMENT, OFFERED, SLA_BREACH, WINDOW, FloatColumn
from exporter.publish.live_agents import Agents, agents_of
from exporter.publish.live_answers import tagged
from exporter.publish.live_failures import failures, is_stale, ordered, standing, title
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
    '<span class="sub" data-to="longest">$longest</span></td>'
    '<td role="cell" class="num" data-label="Agents free"><span class="value" data-to="agents">$agents</span>'
    '<span class="sub" data-to="agentsOf">$agents_of</span></td>'
    '<td role="cell" class="trend"><svg data-to="trend" aria-hidden="true"></svg>'
    '<span class="unseen" data-to="trendText"></span></td></tr>'
)
_FINDING = Template(
    '<li><p class="what"><strong data-to="name">$name</strong> <span data-to="media">$media</span>: '
    '<b data-to="text">$text</b></p><p class="more" data-to="more">$more</p>'
    '<svg data-to="trend" aria-hidden="true"></svg></li>'
)
_DATASET = Template(
    '<tr><th scope="row">$title</th><td class="$grade">$standing</td><td>$until</td><td>$fetched</td></tr>'
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


def render(shown: Shown | None, *, stored: bool | None = None) -> bytes:
    """The page as UTF-8; `stored`: whether the disk takes the history, None where nobody has told."""
    told = _told(shown) if shown is not None and shown.status == SUCCESS else _silent(shown)
    alarm = " ".join([*filter(None, [told["alarm"]]), *failures(shown, stored=stored)])
    told |= {"alarm": escape(alarm), "alarm_hidden": "" if alarm else " hidden"}
    told |= _of_the_exporter(shown, stored) if shown else {"exporter_hidden": " hidden"}
    common = {
        "version": VERSION,
        "preloads": _PRELOADS,
        "blank_row": _ROW.substitute(_Blank()),
        "blank_finding": _FINDING.substitute(_Blank()),
    }
    return _PAGE.substitute(_Blank(common | told)).encode("utf-8", "replace")


def _silent(shown: Shown | None) -> dict[str, str]:
    """Nothing may be shown; why."""
    why, fetched = shown.message if shown else NO_SNAPSHOT, _fetched(shown, WINDOW) if shown else None
    alarm = f"{why[:1].upper()}{why[1:].removesuffix('.')}."
    if fetched:
        alarm += f" The window was last fetched at {_moment(fetched)}; its values are withdrawn."
    words = {"standing": "Stale" if fetched else "No data", "alarm": alarm, "headline": "No current data"}
    return words | {"threshold": "the threshold"}


def _told(shown: Shown) -> dict[str, str]:
    ranking, snapshot = rank(shown), shown.snapshot
    worst = ranking.order[:WORST].tolist()
    agents = agents_of(shown, {snapshot.rows.keys[row].queue_id for row in worst})
    # A snapshot is made at every poll, also where the window could not be fetched.
    as_of = min(snapshot.created, _fetched(shown, WINDOW) or snapshot.created)
    window = f"{snapshot.window.start:%H:%M} to {snapshot.window.end:%H:%M} UTC" if snapshot.window else ""
    return {
        "standing": f"As of {_moment(as_of)}",
        "alarm": "",
        "headline": escape(headline(shown, ranking)),
        "when": f"Contacts of {window}",
        "findings": "".join(_finding(each) for each in findings(shown, ranking)),
        "rows": "\n".join(_row(shown, ranking, agents, row) for row in worst),
        "shown_rows": f"These are the {len(worst)} most unusual of {shown.rows} rows. " if worst else "",
        "threshold": f"{shown.scores.threshold:g}" if shown.scores else "the threshold",
    }


def _of_the_exporter(shown: Shown, stored: bool | None) -> dict[str, str]:
    """What the exporter tells of itself, with moments instead of ages: nobody counts them on."""
    states, fetched = dict(ordered(shown)), _fetched(shown, WINDOW)
    failing = [title(name).lower() for name, state in states.items() if state.up is False]
    brief = [
        f"data fetched at {_moment(fetched)}" if fetched else "no data yet",
        f"failing: {', '.join(failing)}" if failing else "",
        "history not written to disk" if stored is False else "",
    ]
    return {
        "exporter_hidden": "",
        "exporter_brief": escape(" · ".join(filter(None, brief))),
        "datasets": "".join(_dataset(shown, name) for name in states),
    }


def _dataset(shown: Shown, name: str) -> str:
    state = shown.snapshot.datasets[name]
    words = {
        "title": title(name),
        "grade": "bad" if state.up is False or is_stale(shown, name) else "",
        "standing": standing(shown, name),
        "until": _moment(state.data_end) if state.data_end else "–",
        "fetched": _moment(state.last_success) if state.last_success else "never",
    }
    return _DATASET.substitute({key: escape(word) for key, word in words.items()})


def _fetched(shown: Shown, name: str) -> datetime | None:
    state = shown.snapshot.datasets.get(name)
    return state.last_success if state else None


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _finding(found: Finding) -> str:
    media = f"({found.media_type})" if found.media_type else ""
    words = {"name": found.name, "media": media, "text": found.text, "more": found.more}
    return _FINDING.substitute({key: escape(word) for key, word in words.items()})


def _row(shown: Shown, ranking: Ranking, agents: Agents, row: int) -> str:
    key, worst = shown.snapshot.rows.keys[row], int(ranking.worst[row])
    metric = METRICS[worst] if worst >= 0 else None
    free, on_queue = agents.get(key.queue_id, (None, 0.0))
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
        "longest": _longest(shown, row),
        "agents": "–" if free is None else f"{free:,.0f}",
        "agents_of": "" if free is None else f"of {on_queue:,.0f} on queue",
    }
    return _ROW.substitute({name: escape(word) for name, word in words.items()})


def _longest(shown: Shown, row: int) -> str:
    """How long the first of those who wait had waited when the snapshot was made: `longest 4:05`, `longest 2.1 h`."""
    since = float(shown.column("oldest_waiting_timestamp_seconds")[row])
    if not since > 0:
        return ""
    seconds = max(0, round(shown.snapshot.created.timestamp() - since))
    return f"longest {seconds // 60}:{seconds % 60:02d}" if seconds < 3600 else f"longest {seconds / 3600:.1f} h"


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
