"""Uploads and downloads of many files at once: order of calls, concurrency, rate and bandwidth.

Must not: know the manifest or the state.
"""
