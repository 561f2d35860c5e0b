"""Two or more exporters of one org: one polls, the others serve what it found, and take over when it is gone.

    leader ── snapshot, readings, closed buckets ──▶ Redis ──▶ followers
                       lease with a fence · ceiling on calls · addresses of the replicas

`frames` and `wire` are the bytes, `shared` is what stands in Redis, `peers` are the others, asked when Redis is silent.
Who leads, and what that means for polling, is decided by `exporter.leadership`.
"""
