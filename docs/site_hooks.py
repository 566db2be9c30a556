"""Hooks of the documentation site: lists the decision records."""

from __future__ import annotations

from typing import Any


def on_nav(nav: Any, *, config: Any, files: Any) -> Any:
    """Add the decision records to the navigation."""
    from mkdocs.structure.nav import Section
    from mkdocs.structure.pages import Page

    records = sorted((file for file in files.documentation_pages() if file.src_uri.startswith("decisions/")), key=_path)
    nav.items.append(Section("Decisions", [Page(None, file, config) for file in records]))
    return nav


def _path(file: Any) -> str:
    path: str = file.src_uri
    return path
