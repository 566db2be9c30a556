"""The commands, in modules by subject. `main` loads a module only when one of its commands is called.

A command imports what a run needs (manifest, state, lake) in its function. So `--help`, completion and errors of usage
load only the options.
"""
