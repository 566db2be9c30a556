"""`metalake-sync init`: write a commented starter manifest."""

from __future__ import annotations

from pathlib import Path

import click

from metalake_sync.errors import UsageError

IGNORED = (".metalake-sync/", ".metalake/")


@click.command("init", epilog="Example: metalake-sync init birds")
@click.argument("folder", metavar="[DIR]", default=".", type=click.Path(path_type=Path, file_okay=False))
def command(folder: Path) -> None:
    """Write a commented starter manifest into DIR (this folder by default), and keep the state out of git."""
    from metalake_sync.manifest.starter import STARTER_MANIFEST

    manifest = folder / "manifest.yaml"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with manifest.open("x") as file:
            file.write(STARTER_MANIFEST)
        ignored = _keep_out_of_git(folder / ".gitignore")
    except FileExistsError:
        raise UsageError(f"'{manifest}' exists already", remedy="Nothing was changed. Give another folder.") from None
    except OSError as error:
        raise UsageError(f"'{folder}' can't be written: {error.strerror}", remedy="Give another folder.") from error
    click.echo(f"Wrote {manifest}" + (f" and added {' and '.join(ignored)} to .gitignore." if ignored else "."))
    click.echo(f"Next: edit it, then run: metalake-sync apply {manifest}")


def _keep_out_of_git(gitignore: Path) -> list[str]:
    """Append what is missing; what the user wrote stays as it is."""
    text = gitignore.read_bytes() if gitignore.exists() else b""
    missing = [line for line in IGNORED if line.encode() not in text.splitlines()]
    if missing:
        start = b"" if not text or text.endswith(b"\n") else b"\n"
        with gitignore.open("ab") as file:
            file.write(start + "".join(f"{line}\n" for line in missing).encode())
    return missing
