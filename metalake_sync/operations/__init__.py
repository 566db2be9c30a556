"""Commands that look, and maintenance of the state: status, drift, check, explain, preview, doctor, import.

Must not: change anything in the lake.
"""
