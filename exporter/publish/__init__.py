"""Out: what the world sees of a snapshot.

    Snapshot → publisher → (exposition | dashboard | csv_export | page) → server

Every answer is made from the latest snapshot; nothing here asks the API, keeps history or computes a score.
"""
