"""The commands, their arguments and their exit codes.

0 = done, or stopped by SIGTERM or SIGINT; 1 = something refused or failed; 2 = settings or arguments that cannot
work, all faults at once, before a socket opens; 130 = `check` or `backtest` was interrupted. Heavy parts are
imported by the command that needs them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import logging
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporter import __version__, machine
from exporter.errors import ExporterError, SettingsError
from exporter.logs import configure_logging
from exporter.progress import Progress
from exporter.settings import DEFAULT_THRESHOLDS, MEMORY, Settings, load_settings
from exporter.signals import Signals
from exporter.systemd import Systemd

if TYPE_CHECKING:
    from exporter.simulator import SimulatedOrg

log = logging.getLogger(__name__)

OK, REFUSED, BAD_SETTINGS, INTERRUPTED = 0, 1, 2, 130
#: The demo's own defaults: somebody is watching, and the simulated org grants what Genesys Cloud grants one client.
DEMO_DEFAULTS = {"EXPORTER_POLL_INTERVAL": "15", "GENESYS_REQUESTS_PER_MINUTE": "300"}
#: Beyond it, a poll every 15 seconds would not fit.
DEMO_QUICK_QUEUES = 5000
SIMULATE_PORT = 10421


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a name that the terminal or the pipe cannot write ends nothing
    arguments = _parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
    except SettingsError as error:
        _complain("settings that cannot work:", *error.faults)
        return BAD_SETTINGS
    except ExporterError as error:
        _complain(str(error))
        return REFUSED
    except KeyboardInterrupt:
        return INTERRUPTED if arguments.run in (_check, _backtest) else OK
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="genesys-cloud-exporter",
        description="Prometheus exporter for Genesys Cloud queues. Settings are environment variables: see"
        " docs/configuration.md.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.set_defaults(run=_run)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    commands.add_parser("run", help="poll the configured org and serve (the default)").set_defaults(run=_run)
    commands.add_parser("check", help="try the settings, the token and each endpoint").set_defaults(run=_check)
    demo = commands.add_parser("demo", help="a simulated org and the exporter polling it; needs no account")
    _add_org_options(demo, "port of the exporter (default: EXPORTER_PORT)")
    demo.set_defaults(run=_demo)
    simulate = commands.add_parser("simulate", help="the simulated org alone")
    _add_org_options(simulate, f"port of the org (default: {SIMULATE_PORT})")
    simulate.set_defaults(run=_simulate)
    backtest = commands.add_parser("backtest", help="score a CSV of past buckets: what would have been flagged?")
    _add_backtest_options(backtest)
    backtest.set_defaults(run=_backtest)
    return parser


def _add_backtest_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file",
        type=Path,
        metavar="FILE.csv",
        help="the columns of /export.csv, or queue,t,offered,abandoned,sla_breach; may be gzip",
    )
    parser.add_argument("--method", choices=(*DEFAULT_THRESHOLDS, "all"), help="default: EXPORTER_SCORE_METHOD")
    parser.add_argument("--threshold", type=_above_zero, metavar="T", help="standard deviations; default: the method's")
    parser.add_argument("--min-events", metavar="N", help="default: EXPORTER_ANOMALY_MIN_EVENTS")
    parser.add_argument("--min-difference", metavar="SHARE", help="default: EXPORTER_ANOMALY_MIN_DIFFERENCE")
    parser.add_argument("--direction", action=_Once, metavar="SIDES", help="default: EXPORTER_ANOMALY_DIRECTION")
    parser.add_argument("--baseline-days", type=_days, metavar="N", help="default: EXPORTER_BASELINE_DAYS")
    parser.add_argument("--timezone", metavar="ZONE", help="IANA name of the local time; default: EXPORTER_TIMEZONE")
    parser.add_argument("--list", type=_none_or_more, default=20, metavar="N", help="flagged buckets to list")
    parser.add_argument("--scores", type=Path, metavar="OUT.csv", help="write every score")
    parser.add_argument(
        "--plot", type=Path, metavar="OUT", help="draw the busiest queue, or --queue: .html, .svg, .png"
    )
    parser.add_argument("--queue", action=_Once, metavar="NAME", help="score this queue alone, by name or id")


def _add_org_options(parser: argparse.ArgumentParser, port_help: str) -> None:
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--queues", type=_at_least_one, default=40, metavar="N", help="number of queues (default: 40)")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="the same seed, the same org (default: 1)")
    size.add_argument("--replay", type=Path, metavar="FILE.csv", help="play past buckets from a file, shifted to now")
    parser.add_argument("--port", type=_port, metavar="P", help=port_help)


class _Once(argparse.Action):
    """An option that one might think takes several values one by one, where the last would hold alone."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        if getattr(namespace, self.dest) is not None:
            raise argparse.ArgumentError(self, "given twice")
        setattr(namespace, self.dest, values)


def _at_least_one(text: str) -> int:
    return _whole_number(text, 1, 100_000)


def _days(text: str) -> int:
    return _whole_number(text, 1, 366)


def _none_or_more(text: str) -> int:
    return _whole_number(text, 0, 100_000)


def _port(text: str) -> int:
    return _whole_number(text, 0, 65_535)


def _above_zero(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if 0 < number < float("inf"):
        return number
    raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")


def _whole_number(text: str, least: int, most: int) -> int:
    if text.isascii() and text.isdigit() and least <= int(text) <= most:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} to {most}")


def _tell(text: str) -> None:
    """To stdout; whoever has stopped reading, as `head` does, has what he wanted."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python writes out the rest at its end


def _complain(*lines: str) -> None:
    for line in lines:
        print(f"genesys-cloud-exporter: {line}", file=sys.stderr)


def _load(**options: Any) -> Settings:
    """The settings, with logging set up as they say and their warnings told."""
    settings = load_settings(**options)
    configure_logging(settings.log_level, settings.log_format)
    for warning in settings.warnings:
        log.warning("%s", warning)
    return settings


def _run(arguments: argparse.Namespace) -> int:
    machine.settle()
    signals = Signals(hangups=True)
    settings = _load()
    signals.run(lambda: _serve(settings, signals))
    return OK


def _demo(arguments: argparse.Namespace) -> int:
    machine.settle()
    signals = Signals(hangups=True)
    with _demo_history() as history:
        defaults = {**DEMO_DEFAULTS, "EXPORTER_HISTORY": history}
        if arguments.queues > DEMO_QUICK_QUEUES:
            del defaults["EXPORTER_POLL_INTERVAL"]
        port = {} if arguments.port is None else {"EXPORTER_PORT": str(arguments.port)}
        _load(defaults=defaults, overrides=port, require_credentials=False)  # faults first, before a socket opens
        signals.run(lambda: _demonstrate(arguments, defaults, port, signals))
    return OK


@contextlib.contextmanager
def _demo_history() -> Iterator[str]:
    """Where the demo keeps its history: a folder of its own, or memory where none can be made."""
    try:
        scratch = tempfile.TemporaryDirectory(prefix="genesys-cloud-exporter-demo-")
    except OSError:
        yield MEMORY
        return
    with scratch as folder:
        yield str(Path(folder) / "history.sqlite3")


def _simulate(arguments: argparse.Namespace) -> int:
    configure_logging("info", "text" if sys.stderr.isatty() else "json")
    Signals(hangups=False).run(lambda: _serve_org(arguments))
    return OK


def _check(arguments: argparse.Namespace) -> int:
    settings = load_settings()
    configure_logging("error", settings.log_format)
    for warning in settings.warnings:
        _complain(warning)
    return asyncio.run(_check_access(settings))


def _backtest(arguments: argparse.Namespace) -> int:
    from exporter.analysis.backtest import BacktestError, BacktestOptions
    from exporter.analysis.scoring import ScoreOptions
    from exporter.backtesting import Outputs, backtest

    given = {
        "EXPORTER_SCORE_METHOD": arguments.method,
        "EXPORTER_TIMEZONE": arguments.timezone,
        "EXPORTER_ANOMALY_MIN_EVENTS": arguments.min_events,
        "EXPORTER_ANOMALY_MIN_DIFFERENCE": arguments.min_difference,
        "EXPORTER_ANOMALY_DIRECTION": arguments.direction,
    }
    overrides = {name: value for name, value in given.items() if value and value.strip() and value != "all"}
    settings = _load(overrides=overrides, require_credentials=False)
    wished = settings.anomaly_threshold if settings.is_set("EXPORTER_ANOMALY_THRESHOLD") else None
    options = BacktestOptions(
        methods=tuple(DEFAULT_THRESHOLDS) if arguments.method == "all" else (settings.score_method,),
        scores=ScoreOptions(**settings.score_options | {"threshold": arguments.threshold or wished}),
        baseline_seconds=(arguments.baseline_days or settings.baseline_days) * 86_400,
        kept=arguments.list,
    )
    outputs = Outputs(arguments.scores, arguments.plot, arguments.queue, arguments.list)
    try:
        _tell(backtest(arguments.file, options, outputs).rstrip("\n"))
    except BacktestError as error:  # an argument, too: what it names cannot work
        _complain(str(error))
        return BAD_SETTINGS
    return OK


async def _serve(settings: Settings, signals: Signals) -> None:
    from exporter.app import running
    from exporter.attending import attend

    async with running(settings, progress=Progress("back-fill"), read=load_settings) as exporter:
        log.info("serving %s/metrics", exporter.url)
        await attend(exporter, signals.hangup, Systemd(os.environ))


async def _demonstrate(
    arguments: argparse.Namespace, defaults: dict[str, str], port: dict[str, str], signals: Signals
) -> None:
    from exporter.app import running
    from exporter.attending import attend
    from exporter.simulator import serve

    org = _org(arguments)
    async with serve(org) as org_url:
        urls = {"GENESYS_API_URL": org_url, "GENESYS_LOGIN_URL": org_url}
        secrets = {"GENESYS_CLIENT_ID": org.config.client_id, "GENESYS_CLIENT_SECRET": org.config.client_secret}
        read = partial(load_settings, defaults=defaults, overrides={**port, **urls, **secrets})
        async with running(read(), progress=Progress("back-fill"), read=read) as exporter:
            _show_urls(exporter.url, org)
            await attend(exporter, signals.hangup, Systemd(os.environ))


def _described(org: SimulatedOrg) -> str:
    if org.replay is not None:
        return org.replay.description
    first = org.queues[0] if not org.incidents else org.queues[int(org.incidents[0].queue or 0)]
    return f'An incident is under way on the queue "{first.name}".'


def _show_urls(url: str, org: SimulatedOrg) -> None:
    """What a visitor of the demo needs to know, on stdout."""
    lines = [
        f"A simulated contact centre with {len(org.queues)} queues is being polled. {_described(org)}",
        f"  page        {url}/",
        f"  metrics     {url}/metrics",
        f"  dashboard   {url}/dashboard",
        f"  CSV         {url}/export.csv",
        f"  readiness   {url}/-/ready",
        "Stop with Ctrl-C.",
    ]
    print("\n".join(lines), flush=True)


async def _serve_org(arguments: argparse.Namespace) -> None:
    from exporter.simulator import serve

    org = _org(arguments)
    port = SIMULATE_PORT if arguments.port is None else arguments.port
    try:
        async with serve(org, port=port) as url:
            print(
                f"A simulated Genesys Cloud org with {len(org.queues)} queues. {_described(org)}\n"
                f"GENESYS_LOGIN_URL={url} GENESYS_API_URL={url}"
                f" GENESYS_CLIENT_ID={org.config.client_id} GENESYS_CLIENT_SECRET={org.config.client_secret}",
                flush=True,
            )
            await asyncio.Event().wait()
    except OSError as error:
        raise ExporterError(f"cannot listen on port {port}: {error.strerror or error}; use --port") from error


def _org(arguments: argparse.Namespace) -> SimulatedOrg:
    from exporter.simulator import org_from_options

    try:
        return org_from_options(arguments.queues, arguments.seed, arguments.replay, datetime.now(UTC))
    except (OSError, ValueError) as error:
        raise SettingsError([f"--replay {arguments.replay}: {error}"]) from error


async def _check_access(settings: Settings) -> int:
    from exporter.account import open_client
    from exporter.analysis.need import needed
    from exporter.analysis.scoring import method
    from exporter.budget import check_budget, rhythm_of
    from exporter.check import budget_line, check_access, series_line, settings_table, table
    from exporter.clock import SystemClock
    from exporter.publish.access import Access
    from exporter.publish.exposure import exposure
    from exporter.replication import open_shared, redis_answers

    clock = SystemClock()
    paths = settings.web_config, settings.access_config
    guard = Access.open(*paths, now=clock.now, complain=_complain, tell=lambda setting, good: None)
    if doubt := exposure(settings.host, guard):
        _complain(doubt)
    shared = open_shared(settings)
    redis = partial(redis_answers, shared) if shared else None
    _tell(f"{settings_table(settings.describe())}\n")
    async with open_client(settings, clock, lambda event: None) as client:
        result = await check_access(client.api, client.source, clock, redis)
        _tell(table(result.rows))
        scores, tables = method(settings.score_method), (result.window, result.observations)
        series = needed(result.queues, *tables, scores, settings.contract, settings.media_types)
        _tell(series_line(series, result.queues, settings.max_series))
        calls = check_budget(client.source.plan(result.directory), settings, result.queues)
    interval = rhythm_of(settings).interval_seconds
    _tell(budget_line(calls, result.queues, interval, settings.requests_per_minute))
    return OK if result.good else REFUSED
