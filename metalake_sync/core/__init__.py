"""The pure part: snapshots, the decisions that follow from them, actions and plans.

Owns: the decisions about files, heads, annotation sets, metadata and downloads, which of the actions need approval, how
many files a run may trash, and how the changes of a set are described. `planning` owns what is read for the decisions,
and the guards on sources. To predict the actions of a plan, read this package. Must not: read a disk, a clock or a
network.
"""
