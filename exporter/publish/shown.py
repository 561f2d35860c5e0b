"""What of a snapshot may be shown while some of its datasets are stale: the same rule for JSON, CSV and the page.

In come a Snapshot and the fresh datasets; out go its status with a text for people, and columns in which withdrawn
or absent values are NaN. /metrics follows the same table (`families`), by leaving families out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from exporter.models import DATASETS, WINDOW, FloatColumn, Scores, Snapshot
from exporter.publish.families import FAMILIES, UNEXPOSED_COLUMNS, Source

SUCCESS, STALE, ERROR = "success", "stale", "error"

NO_SNAPSHOT = "no data yet: the first poll has not ended"

_DATASET_OF = {family.column: family.dataset for family in FAMILIES if family.source is Source.QUEUE} | dict.fromkeys(
    UNEXPOSED_COLUMNS, WINDOW
)


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """A snapshot together with the datasets whose values may be shown."""

    snapshot: Snapshot
    fresh: frozenset[str]

    @property
    def status(self) -> str:
        """`success`; `stale` once the window is withdrawn; `error` if there has never been a window."""
        if WINDOW in self.fresh and self.snapshot.window is not None:
            return SUCCESS
        state = self.snapshot.datasets.get(WINDOW)
        return STALE if state and state.last_success else ERROR

    @property
    def message(self) -> str:
        """Why the status is not `success`; empty if it is."""
        if self.status == SUCCESS:
            return ""
        state = self.snapshot.datasets.get(WINDOW)
        why = (state.message or state.reason) if state else None
        what = "the window's data are stale" if self.status == STALE else "no window was fetched yet"
        return f"{what}: {why}" if why else what

    @property
    def tag(self) -> str:
        """Tells these values from any others: the snapshot's id and the datasets that are shown."""
        return f"{self.snapshot.id}-{''.join(name[0] for name in DATASETS if name in self.fresh)}"

    @property
    def rows(self) -> int:
        return len(self.snapshot.rows.keys)

    @property
    def scores(self) -> Scores | None:
        return self.snapshot.scores if self.status == SUCCESS else None

    @property
    def org_scores(self) -> Scores | None:
        return self.snapshot.org_scores if self.status == SUCCESS else None

    def column(self, name: str) -> FloatColumn:
        """A column of Snapshot.columns; all NaN where it is absent or withdrawn."""
        column = self.snapshot.columns.get(name) if _DATASET_OF[name] in self.fresh else None
        return np.full(self.rows, np.nan) if column is None else column

    def z(self, metric: str) -> FloatColumn:
        """z-scores of one metric; all NaN where it is not scored."""
        columns = self.scores.metrics.get(metric) if self.scores else None
        return np.full(self.rows, np.nan) if columns is None else columns.z
