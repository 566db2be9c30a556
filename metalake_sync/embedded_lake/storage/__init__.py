"""Where a lake's objects are: files under its folder, or a bucket of S3, Azure or Google Cloud Storage.

Owns: names of objects, how parts come in and become one object, signed URLs, reading headers, listing a folder. What a
store calls an object is opaque to the rest of the lake. Must not: know collections or items.
"""
