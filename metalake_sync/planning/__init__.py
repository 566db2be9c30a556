"""Makes a plan: opens the sources, scans and compares folder by folder, and reconciles the differences.

Must not: change anything in the lake, or write anything but caches and markers to the state.

The way of a change, from where it is found to where it is recorded:

A changed file. Found: `planning.open_sources` opens its source, and `planning.change_detection` finds that it does not
match its record (a `Candidate`). Compared: `planning.file_inspection` hashes it and reads from the lake what is known
about it; `planning.reconcile` brings the three snapshots together. Decided: `core.diff.compare`. Shown: as an action
of the plan that `planning.planner` puts together. Sent: `apply.uploads`. Recorded: `apply.recorder`.

A changed annotation set, for instance one with a moved box. Found: `annotations.index_builder` reads the source,
`annotations.index` has the digest of each set, and `planning.change_detection` finds that the digest is not the
recorded one. Compared: `planning.lake_sets` reads the set that the lake has now, and compares it with the source's set
and with the base set (`annotations.readback`). Decided: `core.diff_sets.compare_set`. If another client changed the
set too, that is a conflict, and `core.diff_sets._decide_conflict` decides by `on_drift`; `planning.set_merge` combines
the two sets for `on_drift: merge`. Shown: `planning.shown_sets` finds the shapes before and after, `core.shape_diff`
compares them, and `core.set_changes` describes the changes. Sent: `apply.annotations`. Recorded: `apply.recorder`, in
`state.annotation_sets` and, as the next base set, in `state.annotation_bases`.

A changed metadata field. Found: `sources.metadata_layers` merges the metadata of a file, and
`planning.change_detection` finds that its digest is not the recorded one. Compared: `planning.lake_metadata` reads the
value that the lake has now. Decided: `core.diff_metadata.compare_fields`. If another client changed the field too,
that is a conflict, and the action overwrites and needs approval. Shown: the action has the values before and after
(`core.changes`). Sent: `apply.metadata`, which unites the Tags of both sides. Recorded: `apply.recorder`, in
`state.files`.

Sets and fields of unmanaged files are found in `planning.unmanaged_files`, compared in `planning.unmanaged_refresh` (in
a full refresh only), and recorded in `state.records_by_place`. With a full refresh, `planning.full_refresh` also finds
files, sets and fields that changed in the lake only.
"""
