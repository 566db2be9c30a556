"""Writes one HTML page with all drawn images, by collection and operation. The page has no script, and loads nothing
from other hosts.

Owns: escaping. Every name on the page comes from files and sources, which are not trusted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby
from urllib.parse import quote

from metalake_sync.lazy_dataclass import dataclass

_STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem; background: #18181b; color: #f4f4f5; }
h2 { margin: 2rem 0 .3rem; font-size: 1.1rem; } p { margin: .2rem 0 1rem; color: #a1a1aa; }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(320px, 1fr)); gap: 1rem; }
figure { margin: 0; background: #27272a; border-radius: 6px; overflow: hidden; }
figure img { width: 100%; display: block; } figcaption { padding: .5rem .7rem; overflow-wrap: anywhere; }
.swatch { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin: 0 .35em 0 .8em; }
"""


@dataclass(frozen=True, slots=True)
class DrawnImage:
    """One image with the shapes of one operation."""

    collection: str
    operation: str
    kind: str
    name: str
    png: str
    """The name of its file beside the page."""
    labels: Mapping[str, int]
    """Label → number of shapes."""


def contact_sheet(
    title: str, images: Sequence[DrawnImage], colors: Mapping[str, tuple[int, int, int]], notes: Sequence[str]
) -> str:
    """Return the page. `images` are sorted by collection and operation. `notes`: what is not shown, and why."""
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src 'self' file:;"
        " style-src 'unsafe-inline'\">",
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
    ]
    for (collection, operation, kind), group in groupby(images, lambda one: (one.collection, one.operation, one.kind)):
        shown = list(group)
        parts.append(f"<h2>{escape(collection)}: {escape(operation)} ({escape(kind)})</h2>")
        parts.append(f"<p>{len(shown)} images {_legend(shown, colors)}</p>")
        parts.append('<div class="sheet">')
        for image in shown:
            shapes = sum(image.labels.values())
            parts.append(
                f'<figure><a href="{quote(image.png)}"><img loading="lazy" src="{quote(image.png)}"'
                f' alt="{escape(image.name)}"></a><figcaption>{escape(image.name)}: {shapes} shapes</figcaption>'
                "</figure>"
            )
        parts.append("</div>")
    if notes:
        parts.append("<h2>Not shown</h2><ul>")
        parts += [f"<li>{escape(note)}</li>" for note in notes]
        parts.append("</ul>")
    parts.append("</body></html>\n")
    return "\n".join(parts).encode("utf-8", "backslashreplace").decode()


def _legend(images: Sequence[DrawnImage], colors: Mapping[str, tuple[int, int, int]]) -> str:
    counts: Counter[str] = Counter()
    for image in images:
        counts.update(image.labels)
    return "".join(
        f'<span class="swatch" style="background: rgb{colors[label]}"></span>{escape(label)} {number}'
        for label, number in sorted(counts.items())
    )
