"""The page as the server writes it: useful without scripts, closed to everything but its own files."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from exporter.models import OBSERVATIONS, WINDOW, DatasetState, Rows
from exporter.publish import page
from exporter.publish.publisher import Publisher
from exporter.publish.self_metrics import SelfMetrics
from exporter.publish.server import make_app
from exporter.publish.shown import Shown
from tests.conftest import FakeClock
from tests.publish.crowds import INCIDENT, crowd
from tests.publish.samples import NOW, datasets, snapshot

STATIC = Path(page.__file__).parent / "static"
HOSTILE = "<img src=x onerror=alert(1)>\"'</script>"

Client = TestClient[web.Request, web.Application]


def shown(**changes: object) -> Shown:
    made = snapshot(**changes)
    return Shown(made, made.fresh(NOW))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
def metrics(clock: FakeClock) -> SelfMetrics:
    return SelfMetrics(clock, version="0", contract="aggregates")


@pytest.fixture
def publisher(clock: FakeClock) -> Publisher:
    return Publisher(clock)


@pytest.fixture
async def client(clock: FakeClock, metrics: SelfMetrics, publisher: Publisher) -> AsyncIterator[Client]:
    app = make_app(publisher=publisher, self_metrics=metrics, clock=clock)
    async with TestClient(TestServer(app), auto_decompress=False, headers={"Accept-Encoding": "identity"}) as client:
        yield client


class Reader(HTMLParser):
    """Tags with their attributes, and the text outside of templates."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._by_id: dict[str, list[str]] = {}
        self._template = False
        self._id = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._template |= tag == "template"
        self._id = dict(attrs).get("id") or self._id

    def handle_endtag(self, tag: str) -> None:
        self._template &= tag != "template"

    def handle_data(self, data: str) -> None:
        if not self._template:
            self.text += data
            self._by_id.setdefault(self._id, []).append(data)

    def under(self, id_: str) -> str:
        """The text from the start of this element to the next one with an id."""
        return " ".join(" ".join(self._by_id.get(id_, ())).split())

    def hidden(self, id_: str) -> bool:
        (found,) = (attributes for _, attributes in self.tags if attributes.get("id") == id_)
        return "hidden" in found


def read(made: Shown | None, *, stored: bool | None = None) -> Reader:
    return Reader(page.render(made, stored=stored).decode())


def test_the_worst_queue_comes_first_and_in_a_sentence() -> None:
    made = crowd(200)
    text = read(Shown(made, made.fresh(NOW))).text.replace("\N{NO-BREAK SPACE}", " ")
    assert "1 queue in trouble" in text
    assert f"{INCIDENT} (voice): 60 % abandoned, usually 4.0 % ± 2.6" in text
    rows = re.findall(r"Queue \d{5} Ünterwegs|Hotline in trouble", text[text.index("Lately") :])
    assert (rows[0], len(rows)) == (INCIDENT, page.WORST)
    assert "30 most unusual of 200" in text


def test_names_are_escaped_wherever_they_stand() -> None:
    made = crowd(3, incident=HOSTILE)
    reader = read(Shown(made, made.fresh(NOW)))
    assert reader.text.count(HOSTILE) == 2  # the sentence and the row
    assert [attributes["src"] for tag, attributes in reader.tags if tag == "img"] == ["/static/icon.svg"]


def test_half_a_character_does_not_break_the_page() -> None:
    rows = Rows(snapshot().rows.keys, ("\ud800Sales", "Sales", "Help"))
    assert b"?Sales" in page.render(shown(rows=rows))


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (None, "No data yet: the first poll has not ended."),
        (
            shown(datasets=datasets() | {WINDOW: DatasetState(False, NOW, NOW, NOW, "auth", "the token was refused")}),
            (
                "The window's data are stale: the token was refused. "
                "The window was last fetched at 2026-03-01 09:16 UTC; its values are withdrawn."
            ),
        ),
    ],
)
def test_without_current_data_it_says_why_and_shows_none(made: Shown | None, told: str) -> None:
    reader = read(made)
    assert reader.under("alarm") == told
    assert reader.under("headline") == "No current data"
    assert "Sales" not in reader.text


REFUSED = DatasetState(False, NOW, NOW, NOW + timedelta(hours=1), "permission", "a permission is <b>missing</b>")
FETCHED = NOW - timedelta(minutes=9)


@pytest.mark.parametrize(
    ("changes", "stored", "alarm", "table"),
    [
        ({}, None, "", "Waiting contacts and agents good 2026-03-01 09:16 UTC"),
        ({}, True, "", "Closed buckets good"),
        ({}, False, "The disk does not take the history: closed buckets wait in memory.", ""),
        (
            {"datasets": datasets() | {OBSERVATIONS: REFUSED}},
            None,
            "Waiting contacts and agents: a permission is <b>missing</b>.",
            "Waiting contacts and agents failing: a permission is <b>missing</b>",
        ),
        (
            {"datasets": datasets() | {OBSERVATIONS: DatasetState(True, FETCHED, FETCHED, NOW)}},
            None,
            "Waiting contacts and agents: withdrawn as stale.",
            "Waiting contacts and agents withdrawn as stale; good 2026-03-01 09:07 UTC",
        ),
        ({"datasets": datasets() | {OBSERVATIONS: DatasetState()}}, None, "", "agents not fetched yet – never"),
        (
            {"dropped_series": 1200},
            None,
            "The quietest queues are not shown: there are 1,200 series more than EXPORTER_MAX_SERIES allows.",
            "",
        ),
    ],
)
def test_what_has_failed_or_is_missing_is_told_without_a_script(
    changes: dict[str, object], stored: bool | None, alarm: str, table: str
) -> None:
    reader = read(shown(**changes), stored=stored)
    assert reader.under("alarm") == alarm
    assert reader.hidden("alarm") is (alarm == "")
    assert not reader.hidden("exporter")
    assert table in reader.under("datasets")


def test_the_age_is_that_of_the_window_also_where_a_snapshot_was_made_without_it() -> None:
    late = DatasetState(False, FETCHED, FETCHED, NOW + timedelta(minutes=1), "unavailable", "it is busy")
    reader = read(shown(datasets=datasets() | {WINDOW: late}))
    assert reader.under("standing-text") == "As of 2026-03-01 09:07 UTC"
    assert reader.under("alarm") == "Current window: it is busy."
    assert "data fetched at 2026-03-01 09:07 UTC · failing: current window" in reader.under("exporter-brief")


def test_who_waits_and_who_is_free_is_told_without_a_script() -> None:
    assert "2 longest 1:05 3 of 7 on queue" in read(shown()).under("trend-head")
    withdrawn = read(shown(datasets=datasets() | {OBSERVATIONS: DatasetState(False, NOW, NOW, NOW)}))
    assert "on queue" not in withdrawn.under("trend-head")


async def test_what_was_withdrawn_since_the_last_poll_is_not_in_the_page(
    client: Client, clock: FakeClock, metrics: SelfMetrics, publisher: Publisher
) -> None:
    await publisher.publish(snapshot())
    metrics.on_history(stored=False)
    for seconds, told in ((0, "As of"), (3600, "Stale")):
        clock.advance(seconds)
        async with client.get("/") as answer:
            reader = Reader(await answer.text())
        assert answer.headers["Cache-Control"] == "no-store"
        assert reader.under("standing-text").startswith(told)
        assert reader.under("alarm").endswith("The disk does not take the history: closed buckets wait in memory.")
        assert ("Sales" in reader.text) is (told == "As of")


def test_datasets_are_told_in_one_order_whichever_came_first() -> None:
    backwards = dict(reversed(datasets().items()))
    assert read(shown(datasets=backwards)).under("datasets") == read(shown()).under("datasets")


def test_without_rows_it_does_not_count_them() -> None:
    assert "30 most unusual of 200 rows. With" in read(Shown(crowd(200), crowd(200).fresh(NOW))).text
    assert "most unusual of" not in read(shown(datasets=datasets(age_seconds=3600))).text


def test_without_scores_it_does_not_pretend_that_all_is_well() -> None:
    assert "too little history" in read(shown(scores=None)).text


def test_nothing_is_inline_and_everything_is_the_exporters_own() -> None:
    reader = read(shown())
    for tag, attributes in reader.tags:
        assert tag != "style"
        assert not any(name.startswith("on") or name == "style" for name in attributes)
        for name in ("src", "href"):
            assert re.match(r"[/#](?!/)", attributes.get(name) or "/")
    assert all(attributes.get("src") for tag, attributes in reader.tags if tag == "script")
    scripts = "\n".join(path.read_text("utf-8") for path in STATIC.glob("*.js"))
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|https?://(?!www\.w3\.org/2000/svg)",
        scripts,
    )


async def test_the_policy_is_strict(client: Client) -> None:
    async with client.get("/") as answer:
        policy = dict(each.strip().partition(" ")[::2] for each in answer.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == policy["img-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert policy["require-trusted-types-for"] == "'script'"


async def test_every_file_that_the_page_names_is_there_and_is_not_sent_twice(client: Client) -> None:
    async with client.get("/") as answer:
        wanted = set(re.findall(r'"(/static/[^"]+)"', await answer.text()))
    imported = {
        f"/static/{name}" for path in STATIC.glob("*.js") for name in re.findall(r'from "\./(.+?)"', path.read_text())
    }
    assert imported <= wanted
    assert "/static/page.js" in wanted
    for path in wanted:
        async with client.get(path) as answer:
            assert answer.status == 200
            assert answer.content_type in ("text/css", "text/javascript", "image/svg+xml")
            tag = answer.headers["ETag"]
        async with client.get(path, headers={"If-None-Match": tag}) as answer:
            assert answer.status == 304


async def test_the_template_itself_is_not_served(client: Client) -> None:
    for path in ("/static/page.html", "/static/", "/static/../page.py"):
        async with client.get(path) as answer:
            assert answer.status == 404


def test_the_page_stays_small() -> None:
    assert sum(path.stat().st_size for path in STATIC.iterdir()) < 80_000


def test_every_column_of_a_row_has_a_head() -> None:
    reader = read(shown())
    heads = [attributes for tag, attributes in reader.tags if tag == "th" and attributes.get("role") == "columnheader"]
    cells = [tag for tag, attributes in reader.tags if attributes.get("role") in ("cell", "rowheader")]
    rows = 1 + len(snapshot().rows.keys)  # and the blank one
    assert len(cells) == rows * len(heads)
    assert np.all([attributes["scope"] == "col" for attributes in heads])
