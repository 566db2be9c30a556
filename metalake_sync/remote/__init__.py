"""Speaking to a lake: single calls (`client`, on requests), transfers of many files (`transfer`, on libcurl), listings.

Both clients map answers to the same errors and share one retry policy. Must not: decide what is sent.
"""
