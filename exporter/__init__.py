"""Genesys Cloud queue statistics for Prometheus: in (`genesys`), think (`analysis`), out (`publish`).

One poll asks the Genesys Cloud analytics API for the current window, turns counts into ratios, scores each
ratio against its queue's own history and swaps in one immutable snapshot; every route answers from the
latest snapshot and never calls the API.
"""

import os

__version__ = "0.1.0"

# Read when NumPy is first imported: threads of its linear algebra would wait for each other over matrices as small as
# ours, which two threads of ours multiply at a time.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
