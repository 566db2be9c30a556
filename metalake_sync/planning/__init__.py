"""Makes a plan: opens the sources, scans and compares folder by folder, and reconciles the differences.

Must not: change anything in the lake, or write anything but caches and markers to the state.

A changed file passes through these modules: `open_collections` opens its source, `scan_join` finds that it does not
match its record (a `Candidate`), `inspect_files` hashes it and asks the lake about it, `reconcile` brings the three
snapshots together, `core.diff` decides, and `planner` puts the actions into the plan. `apply` sends them.
"""
