"""Bringing what a lake has into local folders: what is wanted, what is right already, and what annotations come along.

Must not: fetch files (`remote.transfers.download`), or record what was fetched (`apply.downloads`).
"""
