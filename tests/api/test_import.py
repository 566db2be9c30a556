from __future__ import annotations

import subprocess
import sys

import pytest

import metalake_sync


def test_the_package_loads_its_api_on_first_use() -> None:
    code = (
        "import sys, metalake_sync;"
        "loaded = {name for name in sys.modules if name.startswith('metalake_sync.')};"
        "assert loaded <= {'metalake_sync._version'}, loaded;"
        "from metalake_sync import MetaLake; assert 'metalake_sync.api' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_exists_and_others_raise_an_error() -> None:
    for name in metalake_sync.__all__:
        assert getattr(metalake_sync, name)
    with pytest.raises(AttributeError, match="unknown_name"):
        _ = metalake_sync.unknown_name
