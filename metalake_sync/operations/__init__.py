"""Commands besides `plan`, `apply`, `pull` and `watch`.

Owns: commands that only read (status, drift, check, explain, preview, doctor), maintenance of the state (state,
import), `annotations accept`, which writes a source, and the plan of `revert`, which `apply` carries out. Must not:
change anything in the lake.
"""
