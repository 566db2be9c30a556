"""Declarative sync of files, metadata and annotations into a LayerNext MetaLake."""

__version__ = "0.1.0"
