"""The only package that reads users' files: scans, patterns, content hashes, metadata files and image headers.

`base` has the port of a source, `local_folder` its implementation. Must not: write, or know the lake.
"""
