"""Messages of the annotation studio, a service beside the lake. Source: `layernext` 2.3.4, `studiointerface`."""

from __future__ import annotations

from metalake_sync.protocol.wire import WireModel


class AttachModelRuns(WireModel):
    """Attaches the machine annotations of some operations to an annotation project."""

    project_id: str
    operation_id_array: list[str]
