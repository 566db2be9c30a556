"""The MetaLake wire protocol: routes and message shapes, declared once, for the client and for the embedded lake.

Must not: do I/O, or know who speaks.
"""
