"""Where the state of a manifest is kept between runs: the port (`base`) and its implementations (`file`).

Owns: opening, locking, backing up and making durable the SQLite file of a state. Must not: know what its tables hold.
"""
