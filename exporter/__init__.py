"""Genesys Cloud queue statistics for Prometheus: in (`genesys`), think (`analysis`), out (`publish`).

One poll asks the Genesys Cloud analytics API for the current window, turns counts into ratios, scores each
ratio against its queue's own history and swaps in one immutable snapshot; every route answers from the
latest snapshot and never calls the API.
"""

__version__ = "0.1.0"
