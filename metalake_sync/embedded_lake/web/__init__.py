"""The embedded lake over HTTP: authentication, reading messages, answering rejections, and one handler per call.

Must not: contain the logic of calls; that is in the modules of `embedded_lake`.
"""
