"""The org that `demo` and `simulate` run, from what a person types.

In: number of queues, seed, the file to replay, the moment of the start. Out: a `SimulatedOrg`: simulated traffic with
the demo's schedule of incidents, or a replayed file without incidents.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from exporter.simulator.incidents import demo_incidents
from exporter.simulator.org import Clock, OrgConfig, SimulatedOrg, system_clock
from exporter.simulator.replay import Replay

#: Incidents choose among the first queues: all kinds of names and sizes are there.
_INCIDENT_QUEUES = 16
#: A demo may run for weeks: its log must not grow with it.
_REMEMBERED = 500


def org_from_options(
    queues: int, seed: int, replay: Path | None, now: datetime, clock: Clock = system_clock
) -> SimulatedOrg:
    """The org of one run of the demo, started at `now`; `ReplayError` where the file cannot be replayed."""
    if replay is not None:
        played = Replay.from_csv(replay).anchored(now)
        return SimulatedOrg(OrgConfig(seed=seed, replay=played, client_id=f"replayed-{played.shift_seconds}"), clock)
    incidents = demo_incidents(seed, now, range(min(queues, _INCIDENT_QUEUES))) if queues else ()
    # Who keeps history by client must not take another simulated org for this one.
    config = OrgConfig(queues=queues, seed=seed, incidents=incidents, client_id=f"simulated-{seed}-{queues}")
    return SimulatedOrg(config, clock)
