"""Where the state of a manifest is kept between runs: the port (`base`), its implementations
(`file`, `shared`), and which of them a location names (`opening`).

Owns: opening, locking, backing up and making durable the SQLite file of a state. Must not: know what its tables hold.
"""
