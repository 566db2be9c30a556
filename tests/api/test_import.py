from __future__ import annotations

import subprocess
import sys

import pytest

import metalake_sync


def test_the_package_loads_nothing_until_the_api_is_asked_for() -> None:
    code = (
        "import sys, metalake_sync; assert not [name for name in sys.modules if name.startswith('metalake_sync.')];"
        "from metalake_sync import MetaLake; assert 'metalake_sync.api' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_is_there_and_no_other() -> None:
    for name in metalake_sync.__all__:
        assert getattr(metalake_sync, name)
    with pytest.raises(AttributeError, match="nothing_such"):
        _ = metalake_sync.nothing_such
