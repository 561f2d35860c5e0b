"""`check`: the settings as they are understood, then the token, one call per endpoint in use and Redis tried: what
works, and which permission is missing.

Settings as text and an API client come in, tables go out; nothing is stored and nothing is published. One failure does
not stop the rest, so that an administrator sees everything that is missing at once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from exporter.clock import Clock
from exporter.errors import AuthError, GenesysError, ScopeError
from exporter.genesys.client import ApiClient
from exporter.genesys.source import Source
from exporter.models import OBSERVATIONS, QUEUES, Directory, ObservationTable, QueueTable

if TYPE_CHECKING:
    from exporter.analysis.need import Need

#: A check is run by a person who waits.
CALL_BUDGET_SECONDS = 30.0
#: A list of many queues is not there to be read.
_LONGEST_VALUE = 100
_UNKNOWN = "cannot be told without the list of queues"


@dataclass(frozen=True, slots=True)
class CheckRow:
    """One line of the table: what was tried, how it ended, in words."""

    subject: str
    outcome: str  # "ok", "refused" or "failed"
    detail: str


@dataclass(frozen=True, slots=True)
class CheckResult:
    rows: tuple[CheckRow, ...]
    directory: Directory | None
    queues: int  # how many the budget must serve; 0: nobody knows
    window: QueueTable | None
    observations: ObservationTable | None  # of the first queues

    @property
    def good(self) -> bool:
        return all(row.outcome == "ok" for row in self.rows)


async def check_access(
    api: ApiClient, source: Source, clock: Clock, redis: Callable[[], Awaitable[str]] | None = None
) -> CheckResult:
    """Try everything that a poll would; `redis` says why replicas cannot agree through it, if they cannot."""
    rows: list[CheckRow] = []

    async def attempt(subject: str, call: Callable[[float], Awaitable[str]]) -> bool:
        try:
            rows.append(CheckRow(subject, "ok", await call(clock.monotonic() + CALL_BUDGET_SECONDS)))
        except GenesysError as error:
            refused = isinstance(error, AuthError | ScopeError)
            rows.append(CheckRow(subject, "refused" if refused else "failed", str(error)))
        return rows[-1].outcome == "ok"

    found = _Findings(api, source, clock)
    if await attempt("token", found.token):
        if QUEUES in source.datasets:
            await attempt("queues", found.queues)
        await attempt("window", found.window)
        if OBSERVATIONS in source.datasets:
            await attempt("observations", found.observations)
    if redis is not None:
        fault = await redis()
        rows.append(CheckRow("redis", "failed" if fault else "ok", fault or "it answers"))
    return CheckResult(tuple(rows), found.directory, found.queue_count, found.window_table, found.observed)


class _Findings:
    """The calls of a check, and the directory that the later ones need."""

    def __init__(self, api: ApiClient, source: Source, clock: Clock) -> None:
        self._api, self._source, self._clock = api, source, clock
        self.directory: Directory | None = None
        self.queue_count = 0
        self.window_table: QueueTable | None = None
        self.observed: ObservationTable | None = None

    async def token(self, deadline: float) -> str:
        await self._api.token(deadline)
        return "the client credentials are accepted"

    async def queues(self, deadline: float) -> str:
        self.directory = await self._source.directory(deadline)
        self.queue_count = len(self.directory.queues)
        if not self.directory.queues:
            return "no queue is visible: check the client's divisions, and the queue filters"
        return f"{self.queue_count} queues selected"

    async def window(self, deadline: float) -> str:
        window = self._source.current_window(self._clock.now())
        self.window_table = table = await self._source.window(window, self.directory, deadline)
        if QUEUES not in self._source.datasets:
            self.queue_count = len({key.queue_id for key in table.keys})
        return f"{len(table.keys)} rows for {window.start:%H:%M:%S}-{window.end:%H:%M:%S} UTC"

    async def observations(self, deadline: float) -> str:
        few = _first_batch(self.directory)
        self.observed = table = await self._source.observations(few, deadline)
        return f"{len(table.keys)} rows"


def _first_batch(directory: Directory | None) -> Directory | None:
    """Enough queues for one call: a check must not spend the budget that it reports on."""
    if directory is None:
        return None
    return Directory(dict(list(directory.queues.items())[:200]))


def table(rows: Iterable[CheckRow]) -> str:
    """The rows as aligned text."""
    return _aligned((row.subject, row.outcome, row.detail) for row in rows)


def budget_line(calls: float, queues: int, interval_seconds: float, per_minute: int) -> str:
    """The calls a minute that so many queues need."""
    asked = f"GENESYS_REQUESTS_PER_MINUTE is {per_minute}"
    if not queues:
        return f"budget  {_UNKNOWN}; {asked}"
    return f"budget  {calls:.1f} calls a minute for {queues} queues at an interval of {interval_seconds:g} s; {asked}"


def series_line(need: Need, queues: int, ceiling: int) -> str:
    """The series that so many queues need, and whether the ceiling hides some of them."""
    if not queues:
        return f"series  {_UNKNOWN}; EXPORTER_MAX_SERIES is {ceiling}"
    told = f"at least {need.least} now for {queues} queues"
    if need.most is not None:
        media_types = ", ".join(filter(None, need.media_types))
        told += f", at most {need.most}" + (f" if each has {media_types}" if media_types else "")
    return f"series  {told}; EXPORTER_MAX_SERIES is {ceiling}: {_hidden(need, ceiling)}"


def _hidden(need: Need, ceiling: int) -> str:
    if need.most is not None and need.most <= ceiling:
        return "none is left out"
    return f"the quietest queues {'are' if need.least > ceiling else 'may be'} left out"


def settings_table(settings: Iterable[tuple[str, str, str]]) -> str:
    """Variable, whether it was set, and its value; they come as (variable, value, "set" or "default")."""
    return _aligned((variable, origin, _cut(value)) for variable, value, origin in settings)


def _cut(value: str) -> str:
    return value if len(value) <= _LONGEST_VALUE else f"{value[:_LONGEST_VALUE]}…"


def _aligned(lines: Iterable[tuple[str, str, str]]) -> str:
    lines = tuple(lines)
    wide = max((len(first) for first, _, _ in lines), default=0)
    return "\n".join(f"{first:<{wide}}  {second:<7}  {third}".rstrip() for first, second, third in lines)
