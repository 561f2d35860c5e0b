"""Settings that are changed while the exporter works: read anew, judged whole, taken whole or not at all.

In: a wish, by SIGHUP or `POST /-/reload`. The settings are read as at the start (the process' environment, `.env`, the
secrets folder, the command line), and every fault is told at once, as at the start. One that only a restart can change
is a fault, too. Out: True and one line in the log that lists what has changed, or False and a line for every fault, and
then nothing has changed. What a setting means to a part of the exporter is none of this module's business: `take` hands
the new ones round.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence

from exporter.errors import SettingsError
from exporter.logs import configure_logging
from exporter.settings import VARIABLES, Settings

log = logging.getLogger(__name__)

#: What holds as soon as it is taken. The rest needs a restart: it says where to listen, whom to ask for what, and so
#: whose history is kept, or it is the shape of that history. The client id may move to another place, but not change.
LIVE = frozenset(
    {
        "GENESYS_CLIENT_ID",
        "GENESYS_CLIENT_ID_FILE",
        "GENESYS_CLIENT_SECRET",
        "GENESYS_CLIENT_SECRET_FILE",
        "GENESYS_REQUESTS_PER_MINUTE",
        "EXPORTER_POLL_INTERVAL",
        "EXPORTER_SETTLE",
        "EXPORTER_SCORE_METHOD",
        "EXPORTER_ANOMALY_THRESHOLD",
        "EXPORTER_BASELINE_MIN_SAMPLES",
        "EXPORTER_ANOMALY_MIN_EVENTS",
        "EXPORTER_ANOMALY_MIN_DIFFERENCE",
        "EXPORTER_ANOMALY_DIRECTION",
        "EXPORTER_TIMEZONE",
        "EXPORTER_STALE_AFTER",
        "EXPORTER_MAX_SERIES",
        "EXPORTER_LOG_LEVEL",
        "EXPORTER_LOG_FORMAT",
        "EXPORTER_SECRETS_DIR",
    }
)

#: Says what is wrong with settings by a SettingsError; called in a thread.
Judge = Callable[[Settings], None]


class Reloader:
    """Holds the settings in force.

    `read` reads them anew; `judges` know what the exporter at work could not bear; `take` hands them round, at once
    and without fail; `afterwards` does what follows from them and may take its time.
    """

    def __init__(
        self,
        settings: Settings,
        read: Callable[[], Settings],
        *,
        judges: Sequence[Judge],
        take: Callable[[Settings], None],
        afterwards: Callable[[], Awaitable[None]],
    ) -> None:
        self._settings = settings
        self._read = read
        self._judges = judges
        self._take = take
        self._afterwards = afterwards
        self._turn = asyncio.Lock()
        #: Told, on the event loop, that a reload begins, and whether it was taken.
        self.on_begin: list[Callable[[], None]] = []
        self.on_end: list[Callable[[bool], None]] = []

    async def reload(self) -> bool:
        """Whether the settings as they are written now were taken; one reload at a time."""
        async with self._turn:
            for tell in self.on_begin:
                tell()
            taken = False
            try:
                taken = await self._taken()
            finally:
                for told in self.on_end:
                    told(taken)
            return taken

    async def _taken(self) -> bool:
        try:
            settings = await asyncio.to_thread(self._judged)
        except SettingsError as error:
            for fault in error.faults:
                log.error("reload refused: %s", fault)
            return False
        except Exception:
            log.exception("reload refused: a failure that was not foreseen; please report this")
            return False
        before, self._settings = self._settings, settings
        self._take(settings)
        _tell(before, settings)
        try:
            await self._afterwards()
        except Exception:
            log.exception("the new settings hold, but show from the next poll on")
        return True

    def _judged(self) -> Settings:
        """The settings as they are written now, or all that speaks against them."""
        settings = self._read()
        differ = changed(self._settings, settings)
        faults = [f"{name} cannot change without a restart" for name in VARIABLES if name in differ - LIVE]
        for judge in self._judges:
            try:
                judge(settings)
            except SettingsError as error:
                faults.extend(error.faults)
        if faults:
            raise SettingsError(faults)
        return settings


def changed(before: Settings, after: Settings) -> set[str]:
    """The variables whose values differ."""
    return {variable for variable, field in VARIABLES.items() if getattr(before, field) != getattr(after, field)}


def _tell(before: Settings, after: Settings) -> None:
    """What has changed, in one line of the log as it is configured now."""
    if (before.log_level, before.log_format) != (after.log_level, after.log_format):
        configure_logging(after.log_level, after.log_format)
    for warning in set(after.warnings) - set(before.warnings):
        log.warning("%s", warning)
    log.info("settings reloaded: %s", "; ".join(_changes(before, after)) or "none has changed")


def _changes(before: Settings, after: Settings) -> Iterator[str]:
    """`EXPORTER_POLL_INTERVAL 60 → 30` for each that differs; of a secret, that it does."""
    differ = changed(before, after)
    for (variable, was, _), (_, now, _) in zip(before.describe(), after.describe(), strict=True):
        if variable in differ:
            yield f"{variable} {was or '(none)'} → {now or '(none)'}" if was != now else f"{variable} changed"
