"""The calls of the protocol as methods, one module per topic; `client.LakeClient` combines them.

Must not: batch calls, make decisions, or remember anything.
"""
