"""The command line: commands, output, progress, exit codes.

Owns: everything that a user types and reads. Must not: decide anything. No other package writes to a terminal.
"""
