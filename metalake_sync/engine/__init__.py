"""Observe, plan, apply: the one place where the rooms meet.

`session` is the composition root; `observe` compares the three snapshots; `execute` does what a plan says and nothing
else. Must not: know of a terminal.
"""
