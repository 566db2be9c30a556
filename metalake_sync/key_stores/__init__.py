"""Places that keep bodies under keys: a prefix of a bucket (S3, Google Cloud Storage, Azure), or a table of PostgreSQL.

Owns: the port `KeyStore`, one implementation for each kind of store, opening one from its URL, SDK clients with their
settings, and the description of SDK errors without credentials. Must not: know what the bodies mean.
"""
