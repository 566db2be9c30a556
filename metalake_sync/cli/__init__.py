"""The command line: commands, rendering, progress, exit codes. Nothing below this room knows of a terminal."""
