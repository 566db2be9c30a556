"""The manifest that `metalake-sync init` writes.

Owns: its text, which is a valid manifest. Must not: need anything but the folder `images` beside it.
"""

STARTER_MANIFEST = """\
# The desired contents of the lake. Check them with 'validate', preview changes with 'plan', make them with 'apply'.
version: 1

remote:
  # The embedded lake, for trials. A real lake: https://api.acme.layernext.ai
  url: ${LAYERNEXT_URL:-embedded:.metalake}
  # Credentials come from the environment, never from this file. The embedded lake needs none.
  api_key: ${LAYERNEXT_API_KEY}
  secret: ${LAYERNEXT_SECRET}

collections:
  - name: my-images
    type: image                 # image | video | other
    metadata:                   # applies to the collection and to every file in it
      Tags: ["#example"]
    folders:
      - path: images            # relative to this file
        include: ["*.jpg", "*.jpeg", "*.png"]
        # exclude: ["*_draft*"]
        # naming: path          # a/b.jpg becomes a__b.jpg; needed if two folders have files of the same name
        # metadata: {split: train}

    # Metadata of single files: the vendor's JSON, and patterns.
    # file_metadata:
    #   - metadata.json
    #   - {match: "*_night.jpg", metadata: {Tags: [night]}}

    # Annotations: one block for each annotation project or model run.
    # annotations:
    #   - {operation: my-project, kind: human, source: annotations.json}

    # prune: true               # trash files that this manifest uploaded and no longer contains
"""
