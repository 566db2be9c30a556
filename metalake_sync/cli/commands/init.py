"""`metalake-sync init`: writes a starter manifest with comments."""

from __future__ import annotations

from pathlib import Path

import click

from metalake_sync.errors import UsageError

IGNORED = (".metalake-sync/", ".metalake/")


@click.command("init", epilog="Example: metalake-sync init birds")
@click.argument("folder", metavar="[DIR]", default=".", type=click.Path(path_type=Path, file_okay=False))
def command(folder: Path) -> None:
    """Write a starter manifest with comments into DIR (default: the current folder). Adds the state to .gitignore."""
    from metalake_sync.manifest.authoring import STARTER_MANIFEST

    manifest = folder / "manifest.yaml"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with manifest.open("x") as file:
            file.write(STARTER_MANIFEST)
        ignored = _keep_out_of_git(folder / ".gitignore")
    except FileExistsError:
        raise UsageError(f"'{manifest}' exists already", remedy="Nothing was changed. Choose another folder.") from None
    except OSError as error:
        raise UsageError(f"'{folder}' cannot be written: {error.strerror}", remedy="Choose another folder.") from error
    click.echo(f"Wrote {manifest}" + (f" and added {' and '.join(ignored)} to .gitignore." if ignored else "."))
    click.echo(f"Next: edit it, and then run: metalake-sync apply {manifest}")


def _keep_out_of_git(gitignore: Path) -> list[str]:
    """Append the missing lines and return them. Existing lines stay unchanged."""
    text = gitignore.read_bytes() if gitignore.exists() else b""
    missing = [line for line in IGNORED if line.encode() not in text.splitlines()]
    if missing:
        start = b"" if not text or text.endswith(b"\n") else b"\n"
        with gitignore.open("ab") as file:
            file.write(start + "".join(f"{line}\n" for line in missing).encode())
    return missing
