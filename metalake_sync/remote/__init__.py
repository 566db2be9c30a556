"""The client of a lake: single calls (`client`, with requests), transfers of many files (`transfers`, with libcurl).

Both share one retry flow (`retry`), one classification of answers (`classify`), and one set of errors. Must not: decide
what is sent.
"""
