"""An org whose lines close and open on the hour: that nobody calls is no fault of the API."""

from __future__ import annotations

from datetime import timedelta

from exporter.simulator import Incident, OrgConfig
from tests.end_to_end.conftest import Starter
from tests.end_to_end.moving import BEGIN

OFFERED = "genesys_queue_offered_contacts"
CLOSES = BEGIN.replace(minute=30, second=0)
OPENS = CLOSES + timedelta(hours=1, minutes=30)


async def test_a_poll_is_as_good_when_the_lines_are_closed(start: Starter) -> None:
    closed = Incident("outage", None, CLOSES, OPENS, strength=1.0)
    at_work = await start(OrgConfig(queues=6, incidents=(closed,)))
    assert (await at_work.filled()).total(OFFERED) > 100
    quiet = await at_work.until(lambda samples: at_work.clock.now() > OPENS - timedelta(minutes=10), 3 * 3600)
    assert quiet.total(OFFERED) == 0
    busy = await at_work.until(lambda samples: at_work.clock.now() > OPENS + timedelta(minutes=40), 3 * 3600)
    assert busy.total(OFFERED) > 100
    assert busy.failures == {}
    assert set(busy.up.values()) == {1.0}
