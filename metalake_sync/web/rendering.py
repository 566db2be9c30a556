"""Templates and static files of the pages.

Owns: escaping. Every value that a template prints is made visible (`report.text.visible`) and escaped as HTML.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlencode

from metalake_sync import __version__
from metalake_sync.annotations.drawing import label_colors
from metalake_sync.report.cards import COLORS
from metalake_sync.report.text import SENTENCE_LENGTH, visible

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

_FOLDER = Path(__file__).parent
_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


class StaticFile(NamedTuple):
    """A file that pages load."""

    text: str
    content_type: str


@cache
def STATIC() -> Mapping[str, StaticFile]:  # noqa: N802 - a constant that is read on first use
    """Return the static files by name. Other names do not exist, whatever is on the disk."""
    files = {
        path.name: StaticFile(path.read_text("utf-8"), _TYPES[path.suffix[1:]])
        for path in (_FOLDER / "static").iterdir()
        if path.suffix[1:] in _TYPES
    }
    return {**files, "colors.css": StaticFile(_colors(), "text/css")}


def _colors() -> str:
    """Return the color of each label's number as CSS. Numbers are those of `report.cards.Palette`."""
    found = label_colors(f"{number:04}" for number in range(COLORS))
    lines = (f".c{int(name)}{{--c:#{r:02x}{g:02x}{b:02x}}}" for name, (r, g, b) in found.items())
    return "\n".join(lines)


def render(template: str, values: Mapping[str, Any]) -> str:
    """Return a page. Names that are not UTF-8 are escaped."""
    text = _environment().get_template(template).render(values)
    return text.encode("utf-8", "backslashreplace").decode()


def url(path: str, query: Mapping[str, str] | None = None) -> Markup:
    """Return a path of this server with a query, as safe HTML."""
    from markupsafe import Markup, escape

    address = quote(path, safe="/")
    if query:
        address += "?" + urlencode(query, errors="surrogatepass")
    return Markup(escape(address))  # noqa: S704 - it is escaped


def exact(text: str) -> Markup:
    """Return a text as safe HTML, complete and unchanged: for values that the browser sends back."""
    from markupsafe import Markup, escape

    return Markup(escape(text))  # noqa: S704 - it is escaped


def _shown(value: Any) -> Any:
    """Return a value of a template as it is shown. Only plain text can have names of others."""
    return visible(value, SENTENCE_LENGTH) if type(value) is str else value


def _size(size_bytes: int) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.1f} {unit}"
    return f"{size_bytes} B"


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_FOLDER / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        finalize=_shown,
    )
    environment.globals |= {"url": url, "exact": exact, "version": __version__}
    environment.filters |= {
        "number": lambda value: f"{value:,}",
        "size": _size,
        "name": lambda value: visible(value),
        "words": lambda value: str(value).replace("_", " "),
    }
    return environment
