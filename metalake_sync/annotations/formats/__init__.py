"""Annotation formats: one module reads each of them.

Must not: match entries with files (`annotations.source`), or know of a lake.
"""
