"""What machines read: the documents of plans, saved plans and events, and their JSON Schemas.

Owns: field names and values. Must not: contain a credential or a signed URL, print, or ask.
"""
