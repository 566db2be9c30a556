"""The state of one manifest: what the lake confirmed, cached facts about local files, open upload sessions, past runs.

It is one SQLite file. It is a cache of the lake: if it is lost, the next run adopts the files that the lake has.
`store` opens it, one module per table reads and writes it, and `backends` says where it is kept.
"""
