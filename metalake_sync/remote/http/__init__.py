"""HTTP to lake and stores: connections, TLS, proxies, bodies, stalls and limits.

Must not: know the protocol.
"""
