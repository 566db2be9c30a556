"""The pure heart: facts, the comparison of three snapshots, the plan. No disk, no clock, no network.

Anyone who reads this folder can predict any plan.
"""
