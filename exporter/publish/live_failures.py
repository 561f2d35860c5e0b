"""What has failed or is missing, in words: the same in the page as it is served and as its scripts keep it up to date.

In come what may be shown of a snapshot, and whether the disk takes the history; out go a sentence for each fault, and
how each dataset stands. Messages hold text from outside: whoever makes HTML of them escapes them.
"""

from __future__ import annotations

from exporter.models import DATASETS, HISTORY, OBSERVATIONS, QUEUES, WINDOW, DatasetState
from exporter.publish.shown import SUCCESS, Shown

_TITLES = {
    QUEUES: "Queue directory",
    WINDOW: "Current window",
    HISTORY: "Closed buckets",
    OBSERVATIONS: "Waiting contacts and agents",
}


def title(dataset: str) -> str:
    """The dataset as people call it."""
    return _TITLES.get(dataset, dataset)


def ordered(shown: Shown) -> list[tuple[str, DatasetState]]:
    """The datasets in the order in which they are told; a snapshot holds them in the order in which they came."""
    states = shown.snapshot.datasets
    return [(name, states[name]) for name in DATASETS if name in states]


def is_stale(shown: Shown, dataset: str) -> bool:
    """Whether there were values, and they have been withdrawn."""
    return shown.snapshot.datasets[dataset].last_success is not None and dataset not in shown.fresh


def standing(shown: Shown, dataset: str) -> str:
    """`good`, `not fetched yet`, `withdrawn as stale; failing: the token was refused`."""
    state = shown.snapshot.datasets[dataset]
    known = "not fetched yet" if state.up is None else "good"
    if state.up is False:
        known = f"failing: {state.message or state.reason or 'no reason given'}"
    return f"withdrawn as stale; {known}" if is_stale(shown, dataset) else known


def failures(shown: Shown | None, *, stored: bool | None) -> list[str]:
    """A sentence for each fault that `shown.message` does not tell already; none while all is well.

    `stored` None is no fault: nothing was told yet, or there is no file to write to.
    """
    told = [*_of_datasets(shown), *_of_the_ceiling(shown)] if shown else []
    if stored is False:
        told.append("The disk does not take the history: closed buckets wait in memory.")
    return told


def _of_datasets(shown: Shown) -> list[str]:
    told = []
    for name, state in ordered(shown):
        why = state.message or state.reason
        if state.up is False and not (why and why in shown.message):
            told.append(f"{title(name)}: {(why or 'failed').removesuffix('.')}.")
        elif state.up is not False and shown.status == SUCCESS and is_stale(shown, name):
            told.append(f"{title(name)}: withdrawn as stale.")
    return told


def _of_the_ceiling(shown: Shown) -> list[str]:
    if not (dropped := shown.snapshot.dropped_series):
        return []
    return [f"The quietest queues are not shown: there are {dropped:,} series more than EXPORTER_MAX_SERIES allows."]
