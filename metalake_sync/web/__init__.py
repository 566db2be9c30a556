"""`metalake-sync ui`: a manifest's status, plans, runs and history as local web pages.

Owns: the server, who may use it, the pages and their JSON. Must not: decide what becomes of a file, or word a plan: the
command line passes the words of the terminal (`words.Words`).
"""
