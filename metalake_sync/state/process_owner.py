"""Who runs this process: the user, and the page of the CI job.

Owns: this, for the history and for those who wait for a lock. Must not: fail, or return a credential.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping

from metalake_sync.redaction import USER_OF_URL


def user_name() -> str | None:
    """Return the name of the user, or the number of one without a name."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # A container may run under a number that has no name.
        return str(os.getuid()) if hasattr(os, "getuid") else None


def ci_url(environment: Mapping[str, str]) -> str | None:
    """Return the page of the CI job that runs this process: of GitHub Actions, GitLab, Jenkins or Azure Pipelines."""

    def joined(template: str, *names: str) -> str | None:
        values = [environment.get(name, "") for name in names]
        return template.format(*values) if all(values) else None

    url = (
        joined("{}/{}/actions/runs/{}", "GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")
        or environment.get("CI_JOB_URL")
        or environment.get("BUILD_URL")
        or joined(
            "{}{}/_build/results?buildId={}",
            "SYSTEM_TEAMFOUNDATIONCOLLECTIONURI",
            "SYSTEM_TEAMPROJECT",
            "BUILD_BUILDID",
        )
    )
    if not url or not url.startswith(("https://", "http://")):
        return None
    return USER_OF_URL.sub(r"\1", url)
