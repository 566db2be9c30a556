"""Carries out a plan: stages, upload sessions, records and events.

The plan alone drives it. Each collection passes through these stages, in this order: collection, adopt, upload (in
batches), metadata, annotations, trash. A batch opens an upload session, sends many files at once, completes the
session, waits for the lake's job, finds the new ids and records them. While the lake works on one batch, the next one
is in transfer.

Owns: the order of stages. Must not: decide what to do (`planning`).

`recorder` is the only writer of the state. Every stage passes its outcomes to it, and it commits before it emits
events.
"""
