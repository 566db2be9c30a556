"""`python -m metalake_sync` is `metalake-sync`."""

from metalake_sync.cli.main import main

main()
