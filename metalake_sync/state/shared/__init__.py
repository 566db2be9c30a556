"""A state that several machines share: a log of committed rows, snapshots, and a lease, in a key store.

Each machine works on a SQLite file of its own, the working copy. `changes` captures the rows that a transaction
changed, and writes them into another copy. `log` sends them as segments, in order. `snapshots` bound the length of the
log. `lease` admits one writer, and `place` has the layout of the keys. docs/decisions/0022-shared-state.md has the
reasons.

Must not: know what the rows mean, or which key store it is.
"""
