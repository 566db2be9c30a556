"""Plans downloads into local folders: what is wanted, what is there already, and the annotation files.

Must not: fetch files (`remote.transfers.download`), or record what was fetched (`apply.downloads`).
"""
