"""The local side: what stands on disk, by which rules it is wanted, what it hashes to and what is said about it.

Must not: know of a lake or of the state.
"""
