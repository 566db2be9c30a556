"""The tree keeps its shape: imports go down only, and the pure heart stays pure."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "metalake_sync"

OUTSIDE_WORLD = {
    "aiohttp", "asyncio", "datetime", "glob", "io", "os", "pathlib", "pycurl", "random", "requests", "shutil", "socket",
    "sqlite3", "sqlite_utils", "subprocess", "tempfile", "threading", "time", "urllib", "uuid", "watchdog",
}  # fmt: skip


def imports_of(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_imports_go_down_only() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_heart_touches_no_disk_no_clock_and_no_network() -> None:
    files = list((PACKAGE / "core").glob("*.py"))
    assert len(files) > 5
    for file in files:
        assert not imports_of(file) & OUTSIDE_WORLD, file.name


def test_nothing_below_the_command_line_knows_of_a_terminal() -> None:
    for file in PACKAGE.rglob("*.py"):
        if "cli" not in file.parts:
            assert not imports_of(file) & {"rich", "click"}, file


def test_every_module_says_what_it_is_for() -> None:
    for file in PACKAGE.rglob("*.py"):
        assert ast.get_docstring(ast.parse(file.read_text())), file


def test_a_long_module_says_why_it_is_long() -> None:
    for file in PACKAGE.rglob("*.py"):
        text = file.read_text()
        if len(text.splitlines()) > 300:
            docstring = ast.get_docstring(ast.parse(text)) or ""
            assert "Longer than 300 lines, because" in " ".join(docstring.split()), file


def test_the_command_line_starts_without_the_libraries_that_only_a_run_needs() -> None:
    code = "import sys, metalake_sync.cli.main; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"aiohttp", "pycurl", "requests", "pydantic", "sqlite_utils", "yaml", "rich", "blake3"}
    assert not heavy & {name.split(".")[0] for name in done.stdout.split()}


def test_every_async_generator_is_closed_by_the_loop_that_reads_it() -> None:
    """A generator that a canceled task leaves open is closed by the garbage collector, after the event loop."""
    loops = 0
    for file in PACKAGE.rglob("*.py"):
        tree = ast.parse(file.read_text())
        closed = {
            name
            for node in ast.walk(tree)
            if isinstance(node, ast.AsyncWith)
            for item in node.items
            if isinstance(item.context_expr, ast.Call) and ast.unparse(item.context_expr.func) == "aclosing"
            for name in (ast.unparse(item.optional_vars or item.context_expr.args[0]),)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.AsyncFor):
                loops += 1
                # aiohttp's iterator is no generator.
                allowed = closed | {"request.content.iter_any()"}
                assert ast.unparse(node.iter) in allowed, f"{file}:{node.lineno}: read it in 'async with aclosing'"
    assert loops > 8
