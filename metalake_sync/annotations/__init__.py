"""Annotation sources: reads and checks them, and makes one canonical record for each image.

`block_files` lists the files of a source, `formats` reads them, `image_matching` matches their entries with images,
`shape_checks` checks their shapes, `index_builder` collects the sets of one operation, `index_report` reports what of
its sources can't be used, and `writing` writes records in a format.
Must not: know a lake or the state.
"""
