"""Think: from counts to rates, from closed buckets to a baseline, from both to scores and one snapshot.

    BucketBatch → history → baseline → scoring ┐
    QueueTable, ObservationTable, Directory  ──┴→ analyst → Snapshot

Asks no API and knows no format; statistics are pure functions over columns, the history file is the only thing it
writes.
"""
