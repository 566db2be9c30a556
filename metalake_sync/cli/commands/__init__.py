"""One module for each command. `main` loads a command's module only when that command is called."""
