"""The pure part: snapshots, the comparison of three snapshots, actions and plans.

Owns: every decision of the planner that follows from values. To predict a plan, read this package. Must not: read a
disk, a clock or a network.
"""
