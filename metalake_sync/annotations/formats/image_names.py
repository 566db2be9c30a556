"""Names of images in addresses.

Owns: what of a URL is the name of the image. Must not: match names.
"""

from __future__ import annotations


def image_name(written: str) -> str:
    """Return the name of an image as a source writes it: of a URL or of an address in a bucket its last part, without
    query and escapes. Any other text stays as it is."""
    scheme, separator, rest = written.partition("://")
    if not separator or not scheme.isalnum():
        return written
    from urllib.parse import unquote

    path = rest.partition("#")[0].partition("?")[0]
    return unquote(path.rstrip("/").rpartition("/")[2]) or written
