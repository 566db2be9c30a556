"""The manifest that `metalake-sync init` writes.

Owns: its text, which is valid as it stands. Must not: need anything but the folder `images` beside it.
"""

STARTER_MANIFEST = """\
# What should be in the lake. Check it with 'validate', see what would be done with 'plan', do it with 'apply'.
version: 1

remote:
  # The lake that is built in, for trying things out. A real one: https://api.acme.layernext.ai
  url: ${LAYERNEXT_URL:-embedded:.metalake}
  # Credentials come from the environment; they never stand in this file. The lake that is built in asks for none.
  api_key: ${LAYERNEXT_API_KEY}
  secret: ${LAYERNEXT_SECRET}

collections:
  - name: my-images
    type: image                 # image | video | other
    metadata:                   # of the collection and of every file in it
      Tags: ["#example"]
    folders:
      - path: images            # from this file's folder
        include: ["*.jpg", "*.jpeg", "*.png"]
        # exclude: ["*_draft*"]
        # naming: path          # a/b.jpg becomes a__b.jpg; needed where two folders hold files of the same name
        # metadata: {split: train}

    # Metadata of single files: the vendor's JSON, and patterns.
    # file_metadata:
    #   - metadata.json
    #   - {match: "*_night.jpg", metadata: {Tags: [night]}}

    # Annotations: one block for each annotation project or model run.
    # annotations:
    #   - {operation: my-project, kind: human, source: annotations.json}

    # prune: true               # trash files that this manifest put there and no longer names
"""
