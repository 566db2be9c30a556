"""Annotation formats: one module or package per format, found by its name in `metalake_sync.format_names`.

`base` is the port that each format implements, `registry` detects the format of a file.
Must not: match entries with images, or know a lake.
"""
