"""HTTP to lakes and object stores: connections, TLS, proxies, bodies, stalls and limits.

Must not: know the protocol, or retry.
"""
