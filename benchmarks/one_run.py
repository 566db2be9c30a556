"""Runs one command and writes what it took into a file, as JSON: `wall_s`, `cpu_s`, `memory_mb`, `code`.

    python -S benchmarks/one_run.py REPORT COMMAND [ARGUMENT ...]

A program of its own, and a small one: a process starts with the peak memory of whoever started it.
"""

import os
import sys
import time

report, *command = sys.argv[1:]
began = time.monotonic()
pid = os.posix_spawnp(command[0], command, os.environ)
_, status, usage = os.wait4(pid, 0)
wall_s = time.monotonic() - began
with open(report, "w") as file:
    file.write(
        f'{{"wall_s": {wall_s}, "cpu_s": {usage.ru_utime + usage.ru_stime},'
        f' "memory_mb": {usage.ru_maxrss / 1024}, "code": {os.waitstatus_to_exitcode(status)}}}'
    )
