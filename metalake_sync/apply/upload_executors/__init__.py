"""Where the files of an upload session are sent from: the `UploadExecutor` port and its implementations.

Must not: open or complete sessions, or write to the state.
"""
