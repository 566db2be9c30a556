"""The watching daemon: it turns notifications into hints, decides when work is due, and runs plan and apply.

`loop` connects the parts. `triggers` and `polling` create hints. `scheduler` and `debounce` decide when work is due,
and `skipped_files` which files wait. `runner` is the only module that runs an engine. `reporter` shows what happens.
"""
