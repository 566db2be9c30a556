"""The lake over HTTP: who may come in, how bodies are read, how refusals are said, and one handler for each call.

Must not: hold logic; that stands in the themes of the store.
"""
