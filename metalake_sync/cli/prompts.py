"""Approval of destructive actions: a prompt on a terminal, an option everywhere else.

Owns: when a prompt is possible. Must not: decide what needs approval (`core.actions`).
"""

from __future__ import annotations

import sys

import click

from metalake_sync.errors import GuardStopped


def can_ask(*, as_json: bool) -> bool:
    """Return whether a user can answer a prompt."""
    return not as_json and sys.stdin.isatty() and sys.stdout.isatty()


def ask(question: str, *, approved: bool, as_json: bool) -> None:
    """Return if the user approved. Raises GuardStopped if not, or if no prompt is possible."""
    if approved:
        return
    if not can_ask(as_json=as_json):
        reason = "--json does not prompt" if as_json else "there is no terminal to prompt on"
        raise GuardStopped(f"not approved: {reason}", remedy="Nothing was changed. Pass --auto-approve to approve.")
    if click.confirm(question, default=False):
        return
    raise GuardStopped("not approved", remedy="Nothing was changed. Pass --auto-approve to approve.")
