"""Everything before a plan exists: the folder-by-folder comparison, the guards and the full refresh.

Must not: change anything in the lake, or write to the state anything but caches.
"""
