"""The dashboards as Grafana's dashboard linter judges them (its rules, restated), and what links them together.

Data, ids, links and places on the grid; that every query returns something is seen in end_to_end/test_grafana_live.
"""

from __future__ import annotations

import re
from collections import Counter
from itertools import combinations
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.grafana import promql, reading
from tests.grafana.reading import Json

DASHBOARDS = reading.dashboards()
PANELS = dict(reading.panels())
ASKED = list(reading.asked())
OF_PANELS = [each for each in ASKED if ": annotation" not in each.where and ": variable" not in each.where]

#: The units that the panels use, from the linter's list.
UNITS = {"none", "short", "percentunit", "bytes", "s", "dtdurations", "dateTimeFromNow", "cpm", "opm"}


def variables(dashboard: Json) -> dict[str, Json]:
    return {each["name"]: each for each in dashboard["templating"]["list"]}


def test_uids_are_stable_and_ids_unique() -> None:
    uids = {name: dashboard["uid"] for name, dashboard in DASHBOARDS.items()}
    assert uids == {"overview": "genesys-overview", "queue": "genesys-queue", "exporter": "genesys-exporter"}
    for dashboard in DASHBOARDS.values():
        ids = [panel["id"] for panel in dashboard["panels"]]
        assert len(set(ids)) == len(ids)
        titles = Counter(panel["title"] for panel in dashboard["panels"])
        assert max(titles.values()) == 1, "alerts find their panel by title"


@pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)
def test_a_provisioned_dashboard_cannot_be_edited_and_says_what_it_is(dashboard: Json) -> None:
    assert dashboard["editable"] is False
    assert dashboard["title"]
    assert len(dashboard["description"].split()) > 5


@pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)
def test_the_data_source_is_a_variable(dashboard: Json) -> None:
    source = variables(dashboard)["datasource"]
    assert (source["type"], source["query"], source["label"]) == ("datasource", "prometheus", "Data source")


@pytest.mark.parametrize("name", ["job", "instance"])
@pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)
def test_job_and_instance_are_variables_of_their_own_form(dashboard: Json, name: str) -> None:
    variable = variables(dashboard)[name]
    assert (variable["type"], variable["label"], variable["multi"]) == ("query", name.title(), True)
    assert variable["allValue"] == ".+"
    assert variable["datasource"]["uid"] == "${datasource}"


@pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)
def test_variables_follow_the_time_range(dashboard: Json) -> None:
    queried = [each for each in dashboard["templating"]["list"] if each["type"] == "query"]
    assert all(each["refresh"] == 2 for each in queried)
    assert all(re.match(r"(label_values|query_result)\(.+\)$", each["query"]) for each in queried)


@pytest.mark.parametrize("name", ["overview", "queue"])
def test_queues_and_media_types_can_be_chosen_where_queues_are_shown(name: str) -> None:
    assert {"queue", "media"} <= variables(DASHBOARDS[name]).keys()


def test_the_choice_of_queues_shows_names_and_uses_ids() -> None:
    pattern = variables(DASHBOARDS["queue"])["queue"]["regex"]
    python = re.compile(pattern.strip("/").replace("(?<", "(?P<"))
    found = python.search('{queue_id="0c30622d",queue_name="Say "Hi", {VIP} \\ EU"} 12 1795459118638')
    assert found
    assert found.groupdict() == {"value": "0c30622d", "text": 'Say "Hi", {VIP} \\ EU'}


@pytest.mark.parametrize("panel", PANELS.values(), ids=PANELS)
def test_a_panel_says_what_it_shows_from_the_chosen_source(panel: Json) -> None:
    assert panel["title"]
    assert len(panel["description"].split()) >= 5
    assert panel["description"].endswith((".", "."))
    assert panel["targets"]
    for datasource in (panel["datasource"], *(target["datasource"] for target in panel["targets"])):
        assert datasource == {"type": "prometheus", "uid": "${datasource}"}
    refs = [target["refId"] for target in panel["targets"]]
    assert len(set(refs)) == len(refs)


@pytest.mark.parametrize("panel", PANELS.values(), ids=PANELS)
def test_a_panel_has_units(panel: Json) -> None:
    config = panel["fieldConfig"]
    assert config["defaults"]["unit"] in UNITS
    properties = [each for override in config["overrides"] for each in override["properties"]]
    assert {each["value"] for each in properties if each["id"] == "unit"} <= UNITS


@pytest.mark.parametrize("panel", PANELS.values(), ids=PANELS)
def test_settings_for_one_column_or_line_name_one_that_exists(panel: Json) -> None:
    arranged = [each["options"] for each in panel.get("transformations", []) if each["id"] == "organize"]
    shown = {name for each in arranged for name in each["renameByName"].values()}
    shown |= {target["legendFormat"] for target in panel["targets"]}
    named = {override["matcher"]["options"] for override in panel["fieldConfig"]["overrides"]}
    assert named <= shown


@pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)
def test_panels_stand_side_by_side_on_a_grid_of_24_columns(dashboard: Json) -> None:
    places = [panel["gridPos"] for panel in dashboard["panels"]]
    assert all(place["x"] >= 0 and place["x"] + place["w"] <= 24 for place in places)
    for a, b in combinations(places, 2):
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        assert beside or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]


def test_the_first_screen_says_which_queue_is_in_trouble_and_why() -> None:
    table = PANELS["overview: Queues, worst first"]
    assert table["gridPos"]["y"] + table["gridPos"]["h"] <= 20  # rows of 38 pixels: some 760 of them
    (arranged,) = (each["options"] for each in table["transformations"] if each["id"] == "organize")
    columns = sorted(arranged["indexByName"], key=arranged["indexByName"].get)
    assert [arranged["renameByName"][column] for column in columns[:4]] == ["Queue", "Media", "Why", "z"]
    assert arranged["excludeByName"].keys() == {"Time", "Value #A"}, "the rank sorts and is not shown"


def test_every_query_is_promql_with_a_metric_in_it() -> None:
    assert [asked.where for asked in ASKED if not promql.selectors(reading.filled_in(asked.expr))] == []


def test_every_selector_keeps_to_the_chosen_job_and_instance() -> None:
    chosen = reading.FILLED_IN | {"job": "the jobs", "instance": "the instances"}
    for asked in OF_PANELS:
        for metric, matchers in promql.selectors(reading.filled_in(asked.expr, chosen)):
            assert matchers.get("job") == "=~the jobs", (asked.where, metric)
            assert matchers.get("instance") == "=~the instances", (asked.where, metric)


def test_rates_are_taken_over_what_grafana_suggests() -> None:
    for asked in OF_PANELS:
        expr = reading.filled_in(asked.expr, reading.FILLED_IN | {"__rate_interval": "173s"})
        for function, metric, seconds in promql.ranges(expr):
            assert function not in ("rate", "irate") or seconds == 173, (asked.where, metric)


def test_counters_are_shown_as_rates_and_increases_only() -> None:
    for asked in OF_PANELS:
        expr = reading.filled_in(asked.expr)
        counters = [name for name, _ in promql.selectors(expr) if name.endswith("_total")]
        rated = [name for function, name, _ in promql.ranges(expr) if function in ("rate", "irate", "increase")]
        assert [name for name in rated if name.endswith("_total")] == counters, asked.where


def links(panel: Json) -> list[str]:
    config = panel["fieldConfig"]
    properties = [each for override in config["overrides"] for each in override["properties"]]
    found = [link for each in properties if each["id"] == "links" for link in each["value"]]
    return [link["url"] for link in (*found, *config["defaults"].get("links", []))]


def test_links_lead_to_dashboards_and_set_their_variables() -> None:
    uids = {dashboard["uid"]: dashboard for dashboard in DASHBOARDS.values()}
    urls = [url for panel in PANELS.values() for url in links(panel)]
    assert urls
    for url in urls:
        parts = urlsplit(url)
        target = uids[parts.path.removeprefix("/d/")]
        given = {name.removeprefix("var-") for name, _ in parse_qsl(parts.query) if name.startswith("var-")}
        given |= set(re.findall(r"\$\{(\w+):queryparam\}", url))
        assert {"queue", "media", "datasource", "job", "instance"} == given
        assert given <= variables(target).keys()


def test_the_table_links_to_the_queue_by_columns_that_it_has() -> None:
    table = PANELS["overview: Queues, worst first"]
    (url,) = links(table)
    (arranged,) = (each["options"] for each in table["transformations"] if each["id"] == "organize")
    used = set(re.findall(r"__data\.fields\.(\w+)", url))
    assert used == {"Id", "Media"}
    assert used <= set(arranged["renameByName"].values())


@pytest.mark.parametrize("name", ["overview", "queue"])
def test_anomalies_are_annotated(name: str) -> None:
    (annotation,) = DASHBOARDS[name]["annotations"]["list"]
    assert promql.metrics(reading.filled_in(annotation["target"]["expr"])) == {"genesys_queue_anomaly"}
    assert annotation["datasource"]["uid"] == "${datasource}"


def test_the_band_is_the_mean_plus_and_minus_threshold_times_deviation() -> None:
    for title in (
        "Abandonment and what is usual",
        "Late answers and what is usual",
        "Contacts offered and what is usual",
    ):
        exprs = {target["legendFormat"]: target["expr"] for target in PANELS[f"queue: {title}"]["targets"]}
        for name, sign in (("upper", "+"), ("lower", "-")):
            text = reading.filled_in(exprs[name])
            assert re.search(
                rf"baseline_mean_ratio{{[^}}]*}}\) \{sign} max by \([^)]*\) \(genesys_queue_baseline_stddev", text
            )
            assert "genesys_exporter_anomaly_threshold" in promql.metrics(text)
