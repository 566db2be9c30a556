"""`metalake-sync completion`: print the script with which a shell completes commands, options and files."""

from __future__ import annotations

import click

SHELLS = ("bash", "zsh", "fish")


@click.command(
    "completion",
    epilog="Example: metalake-sync completion fish > ~/.config/fish/completions/metalake-sync.fish",
)
@click.argument("shell", type=click.Choice(SHELLS))
def completion_command(shell: str) -> None:
    """Print the script with which a shell completes commands, options and files.

    Write it to the folder in which your shell looks for such scripts, or put this line into the start file of the
    shell:

    \b
    ~/.bashrc:                   eval "$(metalake-sync completion bash)"
    ~/.zshrc, after 'compinit':  eval "$(metalake-sync completion zsh)"
    ~/.config/fish/config.fish:  metalake-sync completion fish | source
    """
    from click.shell_completion import get_completion_class

    from metalake_sync.cli.main import cli

    completion = get_completion_class(shell)
    assert completion is not None
    click.echo(completion(cli, {}, "metalake-sync", "_METALAKE_SYNC_COMPLETE").source())
