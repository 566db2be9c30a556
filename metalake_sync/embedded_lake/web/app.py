"""The web application: all routes of the protocol, and the two routes of the object store, over one database."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from metalake_sync.embedded_lake import LakeSettings
from metalake_sync.embedded_lake.annotations import Annotations, Labels, Studio
from metalake_sync.embedded_lake.collections import Collections
from metalake_sync.embedded_lake.faults import Faults
from metalake_sync.embedded_lake.items import Images, Items, Metadata
from metalake_sync.embedded_lake.jobs import Jobs
from metalake_sync.embedded_lake.quirks import Quirk
from metalake_sync.embedded_lake.request_log import RequestKind, RequestLog
from metalake_sync.embedded_lake.selections import Trash, VirtualCollections
from metalake_sync.embedded_lake.storage.files import OBJECTS, PARTS, FileStorage
from metalake_sync.embedded_lake.store import LakeStore
from metalake_sync.embedded_lake.uploads import Uploads
from metalake_sync.embedded_lake.web.annotations import AnnotationCalls, SelectionCalls, StudioCalls
from metalake_sync.embedded_lake.web.items import ItemCalls
from metalake_sync.embedded_lake.web.middleware import (
    make_access_middleware,
    make_faults_middleware,
    make_quirks_middleware,
)
from metalake_sync.embedded_lake.web.uploads import Locks, ObjectCalls, UploadCalls
from metalake_sync.protocol import routes
from metalake_sync.protocol.routes import Effect, Generation, Route

BODY_LIMIT_BYTES = 256 << 20
"""The largest JSON body. A page of a thousand densely annotated images is far smaller."""

_ROUTE_NAMES: dict[tuple[str, str], tuple[str, bool]] = {
    (route.method, template): (name.lower(), route.effect is Effect.WRITES)
    for name, route in vars(routes).items()
    if isinstance(route, Route)
    for generation in Generation
    for template in route.templates(generation)
}
_UNKNOWN = "unknown"


def make_app(settings: LakeSettings, store: LakeStore, log: RequestLog, faults: Faults) -> web.Application:
    """Return an application that answers all calls from a store, except those that get a fault."""
    uploads, jobs, collections, labels = Uploads(store), Jobs(store), Collections(store), Labels(store)
    images = Images(store)
    locks = Locks()

    def read_object(blob: str) -> bytes:
        # Only objects in files are served by the lake. Clients read those in a bucket from the bucket.
        assert isinstance(store.storage, FileStorage)
        return store.storage.blobs.path(blob).read_bytes()

    quirks = make_quirks_middleware(settings.quirks, _kind_of)
    middlewares = [
        *([quirks] if quirks else []),
        make_access_middleware(settings, log, _kind_of, jobs.settle),
        make_faults_middleware(faults, _kind_of, jobs, read_object),
    ]
    app = web.Application(client_max_size=BODY_LIMIT_BYTES, middlewares=middlewares)
    for group in (
        UploadCalls(store, uploads, jobs, locks),
        ItemCalls(collections, Items(store, collections, images), Metadata(store), store.spellings, settings.quirks),
        AnnotationCalls(labels, Annotations(store, labels, images), collections, store.storage),
        SelectionCalls(Trash(store), VirtualCollections(store)),
        StudioCalls(Studio(store)),
    ):
        for route, handler in group.calls():
            for template in _templates(route, settings):
                app.router.add_route(route.method, template, handler)
    if isinstance(store.storage, FileStorage):
        objects = ObjectCalls(store, store.storage, uploads, locks)
        app.on_response_prepare.append(objects.set_etag)
        app.router.add_put(f"{PARTS}/{{file_id}}/{{number}}", objects.put_part, name="put_part")
        app.router.add_get(f"{OBJECTS}/{{blob}}", objects.get_object, name="get_object", allow_head=False)
    return app


def _templates(route: Route[Any], settings: LakeSettings) -> set[str]:
    """Return the path templates of a call."""
    found = {path for generation in settings.generations for path in route.templates(generation)}
    if Quirk.ONE_BASE in settings.quirks:
        found &= {route.bases[generation] + route.path for generation in settings.generations & set(route.bases)}
    return found


def _kind_of(request: web.Request) -> RequestKind:
    resource = request.match_info.route.resource
    if resource is None:
        return RequestKind(request.method, _UNKNOWN, mutating=False)
    if resource.name is not None:
        return RequestKind(request.method, resource.name, mutating=request.method == "PUT")
    name, mutating = _ROUTE_NAMES[request.method, resource.canonical]
    return RequestKind(request.method, name, mutating)
