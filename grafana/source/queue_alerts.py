"""Alerts about queues and the organisation: for those who run the contact centre.

None of them looks at a score alone. Each asks for enough contacts that a handful of callers cannot raise it, and for a
time longer than a window (15 minutes) where one bad minute would otherwise keep it up: such a minute stays in every
window that covers it. With longer buckets `for` should grow with them.
"""

from __future__ import annotations

from grafana.source.alerts import (
    CONTACT_CENTRE,
    CRITICAL,
    INFO,
    SERIES,
    WARNING,
    Alert,
    AlertGroup,
    Number,
    before,
    flagged,
    lines,
    of_queue,
    queue,
    ratio_lines,
    usual_ratio,
)
from grafana.source.dashboard import OVERVIEW, QUEUE_PAGE
from grafana.source.queue import ABANDONMENT_PANEL, LATE_PANEL, VOLUME_PANEL, WAITING_PANEL

#: Contacts in a window below which a rate says little, and events that must stand behind an alert.
FEWEST_CONTACTS, FEWEST_EVENTS = 10, 5
#: Contacts that a baseline must expect before their absence is news.
FEWEST_EXPECTED, FEWEST_EXPECTED_OF_ORG = 20, 30
#: Shares of the expected contacts below which a queue, and the organisation, are silent. Who was so at the same time
#: a week ago is closed: a baseline rounds off the hours of opening and closing.
SILENT_SHARE, SILENT_SHARE_OF_ORG = 0.2, 0.5
#: The service level that most queues aim at, where the queue's own target is not known.
USUAL_TARGET = 0.8

OFFERED = queue("genesys_queue_offered_contacts")
BREACH = queue("genesys_queue_sla_breach_ratio")
EXPECTED = queue("genesys_queue_baseline_mean_ratio", 'metric="offered_contacts"')
EXPECTED_OF_ORG = f"sum by (job, media_type) ({EXPECTED})"


def zscore(metric: str) -> str:
    return queue("genesys_queue_zscore", f'metric="{metric}"')


ABANDONMENT_HIGH = Alert(
    name="GenesysQueueAbandonmentHigh",
    expr=ratio_lines(
        queue("genesys_queue_abandonment_ratio"),
        f"and {flagged('abandonment_ratio')}",
        f"and {zscore('abandonment_ratio')} > 0",
        f"and {OFFERED} >= {FEWEST_CONTACTS}",
        f"and {queue('genesys_queue_abandoned_contacts')} >= {FEWEST_EVENTS}",
    ),
    for_="20m",
    severity=WARNING,
    audience=CONTACT_CENTRE,
    summary="{value:percent} of the callers of {queue_name} ({media_type}) hang up",
    description=(
        "{abandoned:count} of {offered:count} contacts of the current window gave up before an answer: "
        "{value:percent}, where {mean:percent} is usual at this time (z = {z:decimal}). It has been so for 20 minutes."
    ),
    panel=(QUEUE_PAGE, ABANDONMENT_PANEL),
    numbers={
        "abandoned": of_queue("genesys_queue_abandoned_contacts", "abandonment_ratio"),
        "offered": of_queue("genesys_queue_offered_contacts", "abandonment_ratio"),
        "mean": usual_ratio("abandonment_ratio"),
        "z": of_queue("genesys_queue_zscore", "abandonment_ratio", baseline=True),
    },
)

SERVICE_LEVEL_LOW = Alert(
    name="GenesysQueueServiceLevelLow",
    expr=ratio_lines(
        f"1 - {BREACH}",
        f"and {flagged('sla_breach_ratio')}",
        f"and {zscore('sla_breach_ratio')} > 0",
        f"and {OFFERED} >= {FEWEST_CONTACTS}",
        f"and {queue('genesys_queue_sla_breached_contacts')} >= {FEWEST_EVENTS}",
    ),
    for_="20m",
    severity=WARNING,
    audience=CONTACT_CENTRE,
    summary="Service level of {queue_name} ({media_type}) is down to {value:percent}",
    description=(
        "{breached:count} contacts of the current window were not answered in time: the service level is "
        "{value:percent}, while usually {mean:percent} of contacts are late at this time (z = {z:decimal}). It has "
        "been so for 20 minutes."
    ),
    panel=(QUEUE_PAGE, LATE_PANEL),
    numbers={
        "breached": of_queue("genesys_queue_sla_breached_contacts", "sla_breach_ratio"),
        "mean": usual_ratio("sla_breach_ratio"),
        "z": of_queue("genesys_queue_zscore", "sla_breach_ratio", baseline=True),
    },
)

SERVICE_LEVEL_COLLAPSED = Alert(
    name="GenesysQueueServiceLevelCollapsed",
    expr=ratio_lines(
        f"1 - {BREACH}",
        f"  < 0.5 * ({queue('genesys_queue_service_level_target_ratio')} or 0 * {BREACH} + {USUAL_TARGET})",
        f"and {flagged('sla_breach_ratio')}",
        f"and {OFFERED} >= {3 * FEWEST_CONTACTS}",
    ),
    for_="15m",
    severity=CRITICAL,
    audience=CONTACT_CENTRE,
    summary="Service level of {queue_name} ({media_type}) has collapsed to {value:percent}",
    description=(
        "Only {value:percent} of the contacts of the current window ({offered:count} offered) were answered in time: "
        "less than half of what the queue aims at, and far from its own baseline (z = {z:decimal}), for 15 minutes."
    ),
    panel=(QUEUE_PAGE, LATE_PANEL),
    numbers={
        "offered": of_queue("genesys_queue_offered_contacts", "sla_breach_ratio"),
        "z": of_queue("genesys_queue_zscore", "sla_breach_ratio", baseline=True),
    },
)

VOLUME_HIGH = Alert(
    name="GenesysQueueVolumeHigh",
    expr=lines(
        OFFERED,
        f"and {flagged('offered_contacts')}",
        f"and {OFFERED} >= {3 * FEWEST_CONTACTS}",
        f"and {OFFERED} > 1.5 * {EXPECTED}",
    ),
    for_="20m",
    severity=INFO,
    audience=CONTACT_CENTRE,
    summary="{queue_name} ({media_type}) gets far more contacts than usual: {value:count} in a window",
    description=(
        "{value:count} contacts were offered in the current window where {mean:count} are usual at this time "
        "(z = {z:decimal}). It has been so for 20 minutes."
    ),
    panel=(QUEUE_PAGE, VOLUME_PANEL),
    numbers={
        "mean": of_queue("genesys_queue_baseline_mean_ratio", "offered_contacts", baseline=True),
        "z": of_queue("genesys_queue_zscore", "offered_contacts", baseline=True),
    },
)

SILENT = Alert(
    name="GenesysQueueSilent",
    expr=lines(
        f"{OFFERED} < {SILENT_SHARE} * {EXPECTED}",
        f"and {flagged('offered_contacts')}",
        f"and {EXPECTED} >= {FEWEST_EXPECTED}",
        "unless on (job, media_type) (",
        '  max by (job, media_type) (genesys_org_anomaly{metric="offered_contacts"}) == 1',
        '  and max by (job, media_type) (genesys_org_zscore{metric="offered_contacts"}) < 0',
        ")",
        f"unless {before('genesys_queue_offered_contacts', SERIES)} < {SILENT_SHARE} * {EXPECTED}",
    ),
    for_="15m",
    severity=WARNING,
    audience=CONTACT_CENTRE,
    summary="{queue_name} ({media_type}) gets almost no contacts",
    description=(
        "{value:count} contacts were offered in the current window where {mean:count} are usual at this time, for 15 "
        "minutes. A flow, a number or a schedule may have changed. The organisation as a whole is not silent."
    ),
    panel=(QUEUE_PAGE, VOLUME_PANEL),
    numbers={"mean": of_queue("genesys_queue_baseline_mean_ratio", "offered_contacts", baseline=True)},
)

ORG_SILENT = Alert(
    name="GenesysOrgContactsMissing",
    expr=lines(
        "max by (job, media_type) (genesys_org_offered_contacts)",
        f"  < {SILENT_SHARE_OF_ORG} * {EXPECTED_OF_ORG}",
        'and max by (job, media_type) (genesys_org_anomaly{metric="offered_contacts"}) == 1',
        f"and {EXPECTED_OF_ORG} >= {FEWEST_EXPECTED_OF_ORG}",
        f"unless {before('genesys_org_offered_contacts', 'job, media_type')}",
        f"  < {SILENT_SHARE_OF_ORG} * {EXPECTED_OF_ORG}",
    ),
    for_="5m",
    severity=CRITICAL,
    audience=CONTACT_CENTRE,
    summary="Contacts ({media_type}) stay away from the whole organisation: {value:count} in a window",
    description=(
        "{value:count} contacts were offered to all queues together in the current window, less than half of what "
        "their baselines expect at this time (z = {z:decimal}), for 5 minutes. Look at the carrier, trunks, flows and "
        "Genesys Cloud itself."
    ),
    panel=(OVERVIEW, "Contacts offered, and usual"),
    numbers={"z": Number("genesys_org_zscore", ("job", "media_type"), 'metric="offered_contacts"')},
)

#: E-mail and messages may wait for the morning; who is on the line does not.
WAITING_NOW = 'media_type=~"voice|chat"'
PRESENT = 'status=~"IDLE|INTERACTING|COMMUNICATING"'

UNATTENDED = Alert(
    name="GenesysQueueUnattended",
    expr=lines(
        f"{queue('genesys_queue_waiting_contacts', WAITING_NOW)} >= {FEWEST_EVENTS}",
        f"and max by ({SERIES}) (delta(genesys_queue_waiting_contacts{{{WAITING_NOW}}}[10m])) > 0",
        "unless on (job, queue_id)",
        f"  sum by (job, queue_id) (max by (job, queue_id, status) (genesys_queue_agents{{{PRESENT}}})) > 0",
    ),
    for_="5m",
    severity=CRITICAL,
    audience=CONTACT_CENTRE,
    summary="{value:count} contacts wait in {queue_name} ({media_type}) and nobody is on the queue",
    description=(
        "{value:count} contacts wait, more than ten minutes ago, and no agent is idle, interacting or communicating on "
        "the queue, for 5 minutes."
    ),
    panel=(QUEUE_PAGE, WAITING_PANEL),
)

GROUP = AlertGroup(
    "genesys-queues",
    (ABANDONMENT_HIGH, SERVICE_LEVEL_LOW, SERVICE_LEVEL_COLLAPSED, VOLUME_HIGH, SILENT, ORG_SILENT, UNATTENDED),
)
