"""The checks on the bytes of local files: placeholders, truncated files, and bytes that do not fit the extension.

Must not: know the manifest, or decide what a finding stops.
"""
