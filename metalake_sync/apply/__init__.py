"""Doing what a plan says: stages, batches, records and events.

The plan alone drives it. Stages of a collection stand in the order of `CollectionPlan`: head, adopts, uploads in
batches (open a session, send many files at once, complete, wait for the job, find the new ids, record), metadata,
annotations, and at last what is taken away. While the lake works on one batch, the next one is on the wire.

`recorder` is the only writer: every stage hands its outcomes to it, and it commits before it tells.
"""
