"""Annotation sources: read, checked, and turned into one canonical record for each image.

Must not: know of a lake or of the state.
"""
