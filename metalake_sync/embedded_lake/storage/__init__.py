"""The object storage of a lake: files in its folder, or a bucket of S3, Azure or Google Cloud Storage.

Owns: names of objects, receiving and assembling parts, signed URLs, reading headers, listing a folder. The name of an
object is opaque to the rest of the lake. Must not: know collections or items.
"""
