"""A simulated Genesys Cloud org on loopback: the demo's data, and the other side of the tests.

    async with serve(SimulatedOrg(OrgConfig(queues=40, seed=1))) as url: ...

In: a seed, a clock, incidents, faults, optionally a file to replay. Out: a real HTTP server with both contracts,
OAuth, directory, observations, rate limits and documented errors, and the truth behind its answers. Imports nothing of
the exporter's other wings, so that it cannot inherit their mistakes.
"""

from exporter.simulator.directory import Division, Queue
from exporter.simulator.faults import Fault
from exporter.simulator.incidents import Incident
from exporter.simulator.oauth import Client
from exporter.simulator.options import org_from_options
from exporter.simulator.org import OrgConfig, SimulatedOrg
from exporter.simulator.outcomes import Lateness
from exporter.simulator.replay import Replay
from exporter.simulator.replay_rows import ReplayError
from exporter.simulator.server import serve

__all__ = [
    "Client",
    "Division",
    "Fault",
    "Incident",
    "Lateness",
    "OrgConfig",
    "Queue",
    "Replay",
    "ReplayError",
    "SimulatedOrg",
    "org_from_options",
    "serve",
]
