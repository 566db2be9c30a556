"""The watching daemon: notifications are hints, a debouncer says when, and the same observe, plan, apply runs.

`loop` ties it together; `debounce` is pure; `triggers` and `polling` hint; `door` is the only way to a run.
"""
