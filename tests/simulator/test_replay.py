"""Replay of past buckets: exact counts, a sensible place in time, and clear words about bad files."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from exporter.simulator import OrgConfig, Replay, ReplayError, SimulatedOrg, org_from_options
from exporter.simulator.replay import AnchoredReplay
from tests.simulator.client import (
    AGGREGATES,
    NOW,
    OBSERVATIONS,
    SUMMARY,
    Clock,
    connected,
    interval,
    iso,
    matches,
    stats,
)

REAL_DATA = Path(__file__).parents[3] / "shared" / "data" / "anonbank1999_15min.csv"
BUCKET = 900
WEEK = 604_800
#: A Monday, 00:00.
BEGIN = int(datetime(1999, 1, 4, tzinfo=UTC).timestamp())
HEADER = "queue,t,offered,abandoned,sla_breach\n"


def weeks_of(count: int, open_from: int = 8, open_to: int = 18) -> str:
    """A file of two queues, open some hours of each day, with counts that tell buckets apart."""
    lines = []
    for start in range(BEGIN, BEGIN + count * WEEK, BUCKET):
        if open_from <= start % 86_400 // 3600 < open_to:
            number = (start - BEGIN) // BUCKET
            lines.append(f"Loans,{start},{5 + number % 7},{number % 3},{number % 5}\n")
            lines.append(f'"Cards, gold",{start},{1 + number % 2},{number % 2},0\n')
    return HEADER + "".join(lines)


@pytest.fixture
def weeks(tmp_path: Path) -> Path:
    path = tmp_path / "weeks.csv"
    path.write_text(weeks_of(6))
    return path


def anchored(path: Path, now: datetime = NOW) -> AnchoredReplay:
    return Replay.from_csv(path).anchored(now)


def org_of(path: Path, clock: Clock | None = None) -> SimulatedOrg:
    return SimulatedOrg(OrgConfig(replay=Replay.from_csv(path)), clock or Clock())


def rows_of(path: Path) -> Iterator[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def file_counts(path: Path, start: float, end: float) -> dict[tuple[str, int], tuple[int, int, int]]:
    """(offered, abandoned, breached) of the buckets in [start, end) of file time."""
    return {
        (row["queue"], int(row["t"])): (int(row["offered"]), int(row["abandoned"]), int(row["sla_breach"]))
        for row in rows_of(path)
        if start <= int(row["t"]) < end
    }


def replayed_counts(
    org: SimulatedOrg, start: datetime, end: datetime, shift: int
) -> dict[tuple[str, int], tuple[int, int, int]]:
    names = {queue.id: queue.name for queue in org.queues}
    return {
        (names[cell.queue_id], round(cell.start.timestamp()) - shift): (c.offered, c.abandoned, c.sla_breached)
        for cell, c in org.truth(start, end, BUCKET).items()
    }


def aligned(moment: datetime) -> datetime:
    return datetime.fromtimestamp(moment.timestamp() // BUCKET * BUCKET, UTC)


def test_closed_buckets_hold_the_counts_of_the_file(weeks: Path) -> None:
    org = org_of(weeks)
    assert org.replay is not None
    end = aligned(NOW)
    shift = org.replay.shift_seconds
    begin = end.timestamp() - 28 * 86_400 - shift
    replayed = replayed_counts(org, end - timedelta(days=28), end, shift)
    assert replayed == file_counts(weeks, begin, end.timestamp() - shift)
    assert len(replayed) > 1000


def test_any_window_of_a_buckets_length_holds_one_bucket(weeks: Path) -> None:
    org = org_of(weeks)
    assert org.replay is not None
    for minutes in (0, 1, 7, 8, 14):
        start = aligned(NOW) - timedelta(hours=1) + timedelta(minutes=minutes)
        counts = {cell.queue_id: c[:3:2] for cell, c in org.truth(start, start + timedelta(minutes=15), BUCKET).items()}
        middle = start.timestamp() - org.replay.shift_seconds + BUCKET / 2
        bucket = file_counts(weeks, (middle - 1) // BUCKET * BUCKET, middle)
        assert sorted(c[0] for c in counts.values()) == sorted(c[0] for c in bucket.values())


def test_service_levels_are_of_the_offered() -> None:
    org = org_of_text("A,{t},10,4,7\n")
    (counts,) = org.truth(NOW - timedelta(hours=2), NOW + timedelta(hours=2), 14_400).values()
    assert counts == (10, 6, 4, 0, 7, 10)


def test_fewer_breaches_than_abandons_stay_what_they_are() -> None:
    org = org_of_text("A,{t},10,4,1\n")
    (counts,) = org.truth(NOW - timedelta(hours=2), NOW + timedelta(hours=2), 14_400).values()
    assert (counts.sla_breached, counts.sla_contacts) == (1, 10)


def org_of_text(lines: str, tmp: Path | None = None) -> SimulatedOrg:
    """An org that replays one bucket just before NOW, in a file made of `lines`."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(tmp or folder) / "one.csv"
        start = int(NOW.timestamp()) // BUCKET * BUCKET - BUCKET
        path.write_text(HEADER + lines.format(t=start))
        return org_of(path)


async def test_the_contracts_tell_the_counts_of_the_file(weeks: Path) -> None:
    org = org_of(weeks)
    assert org.replay is not None
    end = aligned(NOW)
    start = end - timedelta(hours=1)
    shift = org.replay.shift_seconds
    metrics = ["nOffered", "nOverSla", "tAbandon", "tAnswered", "oServiceLevel"]
    async with connected(org) as api:
        body = {"interval": interval(start, end), "granularity": "PT15M", "metrics": metrics, "groupBy": ["queueId"]}
        aggregates = (await api.post(AGGREGATES, body)).body["results"]
        names = {row["id"]: row["name"] for row in (await api.get("/api/v2/routing/queues")).body["entities"]}
        summary = {
            "timeGroup": "auto", "groupBy": ["queueId"], "interval": "PT15M", "dateFrom": iso(start),
            "dateTo": iso(end), "select": ["totalContacts", "abandonedContacts", "slaBreaches"],
        }  # fmt: skip
        entities = (await api.post(SUMMARY, summary)).body["entities"]
    truth = file_counts(weeks, start.timestamp() - shift, end.timestamp() - shift)
    assert len(truth) == 8
    for row in aggregates:
        assert row["group"]["mediaType"] == "voice"
        for cell in row["data"]:
            got = stats(cell["metrics"])
            begin = int(datetime.fromisoformat(cell["interval"].split("/")[0]).timestamp()) - shift
            offered, abandoned, breached = truth[names[row["group"]["queueId"]], begin]
            assert got["nOffered"]["count"] == offered
            assert got.get("tAbandon", {"count": 0})["count"] == abandoned
            assert got["oServiceLevel"]["denominator"] == offered
            assert got["oServiceLevel"]["numerator"] == offered - breached
            assert got.get("nOverSla", {"count": 0})["count"] == max(0, breached - abandoned)
    told = {
        (row["name"], int(datetime.fromisoformat(row["timeInterval"].split("/")[0]).timestamp()) - shift): (
            row["totalContacts"], row["abandonedContacts"], row["slaBreaches"],
        )
        for row in entities
    }  # fmt: skip
    assert told == truth


async def test_somebody_waits_and_talks_while_a_bucket_is_played(weeks: Path) -> None:
    clock = Clock(NOW.replace(hour=14))
    org = org_of(weeks, clock)
    query = {"filter": matches("queueId", *(q.id for q in org.queues)), "metrics": ["oInteracting", "oWaiting"]}
    seen = 0
    async with connected(org) as api:
        for _ in range(5):
            clock.advance(60)
            rows = (await api.post(OBSERVATIONS, query)).body["results"]
            seen += sum(each["stats"]["count"] for row in rows for each in row["data"])
    assert seen > 0


@pytest.mark.parametrize("hour", [9, 12, 17])
@pytest.mark.parametrize("weekday", range(7))
def test_weekday_and_time_of_day_are_kept_where_something_goes_on(weeks: Path, hour: int, weekday: int) -> None:
    now = NOW.replace(hour=hour) + timedelta(days=weekday)
    replay = anchored(weeks, now)
    moment = now.timestamp() - replay.shift_seconds
    assert replay.shift_seconds % WEEK == 0
    assert moment - BEGIN >= 28 * 86_400
    assert BEGIN + 6 * WEEK - moment >= 86_400
    assert "weeks" in replay.description


@pytest.mark.parametrize(("hour", "is_morning"), [(0, False), (3, True), (7, True), (22, False)])
def test_at_a_quiet_hour_now_is_put_to_the_nearest_busy_one(weeks: Path, hour: int, is_morning: bool) -> None:
    now = NOW.replace(hour=hour)
    replay = anchored(weeks, now)
    moment = now.timestamp() - replay.shift_seconds
    assert replay.shift_seconds % BUCKET == 0
    assert 8 <= moment % 86_400 / 3600 < 18
    assert (moment % 86_400 / 3600 < 12) == is_morning
    around = file_counts(weeks, moment - 3600, moment + 3600)
    assert sum(offered for offered, _, _ in around.values()) > 0
    assert "busy" in replay.description


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_short_file_gives_what_it_has(tmp_path: Path, count: int) -> None:
    path = tmp_path / "short.csv"
    path.write_text(weeks_of(count))
    replay = anchored(path)
    moment = NOW.timestamp() - replay.shift_seconds
    assert BEGIN + (count - 1) * WEEK <= moment <= BEGIN + count * WEEK
    assert 8 <= moment % 86_400 / 3600 < 18


@pytest.mark.parametrize("hour", [9, 12, 17])
def test_a_week_is_not_played_from_its_beginning(tmp_path: Path, hour: int) -> None:
    """So is an export of the last seven days: this time a week ago is where it begins."""
    path = tmp_path / "week.csv"
    path.write_text(weeks_of(1))
    now = datetime.fromtimestamp(BEGIN + 1000 * WEEK, UTC).replace(hour=hour)
    replay = anchored(path, now)
    moment = now.timestamp() - replay.shift_seconds
    assert BEGIN + 86_400 <= moment <= BEGIN + WEEK
    assert 8 <= moment % 86_400 / 3600 < 18


def test_a_single_bucket_is_enough() -> None:
    org = org_of_text("A,{t},3,1,1\n")
    assert sum(c.offered for c in org.truth(NOW - timedelta(days=1), NOW + timedelta(days=1), 86_400).values()) == 3


def test_when_the_file_ends_it_begins_again_after_whole_weeks(weeks: Path) -> None:
    clock = Clock()
    org = org_of(weeks, clock)
    assert org.replay is not None
    place = org.replay.place
    assert place.period_seconds == 6 * WEEK
    start = datetime.fromtimestamp(place.run_start + place.shift_seconds, UTC)
    period = timedelta(seconds=place.period_seconds)
    first = replayed_counts(org, start, start + period, org.replay.shift_seconds)
    for turn in (1, 2, 5):
        shift = org.replay.shift_seconds + turn * place.period_seconds
        assert replayed_counts(org, start + turn * period, start + (turn + 1) * period, shift) == first
    assert first == file_counts(weeks, 0, 2**62)
    assert replayed_counts(org, start - period, start, 0) == {}


def test_only_the_longest_run_is_played_and_its_rounds_are_all_alike(tmp_path: Path) -> None:
    path = tmp_path / "holes.csv"
    strays = [BEGIN + weeks * WEEK + number * BUCKET for weeks in (-3, 40) for number in range(100)]
    path.write_text(weeks_of(6) + "".join(f"Loans,{start},900,0,0\n" for start in strays))
    org = org_of(path)
    assert org.replay is not None
    place = org.replay.place
    assert BEGIN <= place.run_start < place.run_end < BEGIN + 6 * WEEK
    assert place.period_seconds == 6 * WEEK
    start = datetime.fromtimestamp(place.run_start + place.shift_seconds, UTC)
    weekly = Counter[int]()
    for cell, counts in org.truth(start, start + timedelta(weeks=60), WEEK).items():
        weekly[(cell.start - start).days // 7] += counts.offered
    first_round = [weekly[week] for week in range(6)]
    assert [weekly[week] for week in range(60)] == first_round * 10
    assert sum(first_round) == sum(int(row["offered"]) for row in rows_of(path) if int(row["t"]) not in strays)


def test_incidents_play_no_part_in_a_replay(weeks: Path) -> None:
    org = org_from_options(40, 1, weeks, NOW, Clock())
    assert org.incidents == ()
    assert [queue.name for queue in org.queues] == ["Loans", "Cards, gold"]
    assert {queue.media_types for queue in org.queues} == {("voice",)}


def test_a_queue_keeps_its_id_over_restarts(weeks: Path) -> None:
    assert [queue.id for queue in org_of(weeks).queues] == [queue.id for queue in org_of(weeks, Clock(NOW)).queues]


EXPORT = (
    "queueId,queueName,mediaType,timeInterval,totalContacts,abandonmentRate,slaBreachRate,"
    "answeredContacts,abandonedContacts,slaBreaches,abandonmentZScore,slaBreachZScore,isAnomaly\r\n"
)


def test_an_export_of_the_exporter_is_replayed_with_ids_and_media_types(tmp_path: Path) -> None:
    path = tmp_path / "export.csv"
    begin = NOW.replace(minute=0, second=0)
    lines = [
        f"q1,'=Renewals,voice,{iso(begin)}/PT30M,10,10.0000,30.0000,8,1,3,0.1,-0.2,false\r\n",
        f"q1,'=Renewals,email,{iso(begin)}/PT30M,2,,,3,0,1,,,\r\n",
        f"q2,Größe,,{iso(begin)}/PT30M,4,25.0000,25.0000,,1,1,,,\r\n",
        f"q3,Late,,{iso(begin)}/PT30M,1,0.0000,200.0000,,0,2,,,\r\n",  # offered in the bucket before
    ]
    path.write_text("\ufeff" + EXPORT + "".join(lines), encoding="utf-8")
    org = org_of(path)
    assert org.replay is not None
    assert [(q.id, q.name, q.media_types) for q in org.queues] == [
        ("q1", "=Renewals", ("email", "voice")),
        ("q2", "Größe", ("voice",)),
        ("q3", "Late", ("voice",)),
    ]
    cells = org.truth(NOW - timedelta(days=2), NOW + timedelta(days=2), 4 * 86_400)
    assert {cell[:2]: counts for cell, counts in cells.items()} == {
        ("q1", "voice"): (10, 8, 1, 0, 3, 9),
        ("q1", "email"): (2, 3, 0, 0, 1, 3),
        ("q2", "voice"): (4, 3, 1, 0, 1, 4),
        ("q3", "voice"): (1, 2, 0, 0, 2, 2),
    }
    assert org.replay.past.bucket_seconds == 1800


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["line 1", "header", "queue,t,offered,abandoned,sla_breach"]),
        ("name,time\n1,2\n", ["line 1", "name,time", "queue,t,offered,abandoned,sla_breach"]),
        (HEADER, ["no rows"]),
        (HEADER + "A,900,1,0\n", ["line 2", "4 cells", "5"]),
        (HEADER + "A,900,1,0,0\nA,1800,x,0,0\n", ["line 3", "offered 'x'", "whole number"]),
        (HEADER + "A,900,1,0,-1\n", ["line 2", "sla_breach '-1'"]),
        (HEADER + "A,900,1.5,0,0\n", ["line 2", "offered '1.5'"]),
        (HEADER + "A,yesterday,1,0,0\n", ["line 2", "t 'yesterday'", "epoch seconds"]),
        (HEADER + ",900,1,0,0\n", ["line 2", "queue is empty"]),
        (HEADER + "A,900,1,0,2\n", ["line 2", "sla_breach 2 is more than the 1"]),
        (HEADER + "A,900,915170400,1,0\n", ["line 2", "columns in the right order"]),
        (HEADER + "A,900,1,0,0\nB,900,1,0,0\nA,900,2,0,0\n", ["line 4", "'A'", "line 2 already"]),
        (HEADER + "A,900,1,0,0\nA,911,1,0,0\nA,942,1,0,0\n", ["common bucket length"]),
        (EXPORT + "q,n,voice,2026-03-01/15min,1,,,1,0,0,,,\n", ["line 2", "timeInterval", "PT15M"]),
        (EXPORT + ",n,voice,2026-03-01T00:00:00Z/PT15M,1,,,1,0,0,,,\n", ["line 2", "queueId is empty"]),
        (
            EXPORT
            + "q,n,voice,2026-03-01T00:00:00Z/PT15M,1,,,1,0,0,,,\n"
            + "q,n,voice,2026-03-01T01:00:00Z/PT1H,1,,,1,0,0,,,\n",
            ["different lengths"],
        ),
    ],
)
def test_a_bad_file_is_told_where_and_what_to_write(tmp_path: Path, text: str, words: list[str]) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(ReplayError) as refusal:
        Replay.from_csv(path)
    for word in ["bad.csv", *words]:
        assert word in str(refusal.value)


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00binary"])
def test_a_file_that_cannot_be_read_says_so(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "missing.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ReplayError, match="cannot be read as CSV"):
        Replay.from_csv(path)


@pytest.mark.skipif(
    not REAL_DATA.exists(), reason=f"real data, not ours to copy: {REAL_DATA.name} is not beside the project"
)
@pytest.mark.parametrize("hour", [0, 3, 10, 21])
@pytest.mark.parametrize("weekday", [1, 5, 6])
def test_real_data_is_replayed_exactly_at_any_hour(hour: int, weekday: int) -> None:
    now = NOW.replace(hour=hour) + timedelta(days=weekday - NOW.weekday())
    org = SimulatedOrg(OrgConfig(replay=Replay.from_csv(REAL_DATA)), Clock(now))
    assert org.replay is not None
    shift = org.replay.shift_seconds
    assert org.replay.past.bucket_seconds == BUCKET
    end = aligned(now)
    start = end - timedelta(days=28)
    counts = replayed_counts(org, start, end, shift)
    assert counts == file_counts(REAL_DATA, start.timestamp() - shift, end.timestamp() - shift)
    assert len({(t + shift) // 86_400 for _, t in counts}) >= 26  # the bank has holidays
    window = org.truth(end - timedelta(minutes=30), end + timedelta(minutes=30), 3600)
    assert sum(c.offered for c in window.values()) > 0
