"""The local state: what the lake confirmed, what is known of the disk, what is under way, what past runs did.

One SQLite file for each manifest, beside it in `.metalake-sync/`. It is a cache of the lake: lose it, and the next run
adopts what the lake has.
"""
