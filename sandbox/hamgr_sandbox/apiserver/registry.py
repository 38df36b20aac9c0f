"""The operations on objects: create, read, list, update, patch, delete, the same for every kind.

Every operation is synchronous, so it is one step to all others: a read-modify-write here cannot be interrupted. What
differs between kinds is in their strategies (kinds.py).
"""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from hamgr_sandbox.apiserver import apply, deletion, schema, validation
from hamgr_sandbox.apiserver.clock import timestamp
from hamgr_sandbox.apiserver.errors import (
    ApiFailure,
    already_exists,
    bad_request,
    conflict,
    expired,
    forbidden,
    invalid,
    invalid_object,
    modified,
    not_found,
    success,
    too_large_resource_version,
)
from hamgr_sandbox.apiserver.kinds import Catalog, Context, Kind
from hamgr_sandbox.apiserver.pods import random_suffix
from hamgr_sandbox.apiserver.schema import clone
from hamgr_sandbox.apiserver.selectors import FieldSelector, LabelSelector
from hamgr_sandbox.apiserver.services import Allocations
from hamgr_sandbox.apiserver.storage import Key, Storage, TooOld

Obj = dict[str, Any]

_NAMESPACES = "/namespaces"


@dataclass(slots=True)
class WriteOptions:
    """How a write is meant: `validation` is fieldValidation (Strict, Warn, Ignore); unknown fields are collected in
    `warnings` unless it is Strict, which refuses them."""

    dry_run: bool = False
    validation: str = "Warn"
    manager: str = ""
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ListOptions:
    """Which objects of a kind are asked for."""

    namespace: str = ""
    labels: LabelSelector = field(default_factory=LabelSelector)
    fields: FieldSelector = field(default_factory=FieldSelector)
    limit: int = 0
    continue_token: str = ""
    resource_version: str = ""
    match: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """What a list found: the objects, the revision at which they were so, and where the rest begins."""

    items: list[Obj]
    revision: int
    continue_token: str = ""
    remaining: int | None = None


Transform = Callable[[Obj], Obj]


class Registry:
    """All operations on the objects of a storage."""

    def __init__(self, storage: Storage, catalog: Catalog) -> None:
        self.storage = storage
        self.catalog = catalog
        self.allocations = Allocations()

    def _context(self, dry_run: bool = False) -> Context:
        return Context(self.storage, self.allocations, dry_run)

    # --- reading ------------------------------------------------------------------------------------------------------

    def get(self, kind: Kind, namespace: str, name: str) -> Obj:
        """One object as the kind shows it; raises ApiFailure 404."""
        found = self.storage.get(kind.stored_as, (namespace, name))
        if found is None:
            raise not_found(kind, name)
        return self.shown(kind, found)

    @staticmethod
    def shown(kind: Kind, obj: Obj) -> Obj:
        """A stored object as this version of the kind shows it."""
        return kind.conversion.from_storage(obj) if kind.conversion else obj

    def matches(self, kind: Kind, options: ListOptions, obj: Obj) -> bool:
        """Whether a list or watch with these options is about a stored object."""
        metadata = obj["metadata"]
        if options.namespace and metadata.get("namespace") != options.namespace:
            return False
        if not options.labels.matches(metadata.get("labels")):
            return False
        return not options.fields.requirements or options.fields.matches(self.shown(kind, obj))

    def list(self, kind: Kind, options: ListOptions) -> Page:
        """The objects asked for, or one page of them; raises ApiFailure."""
        revision, after = self._list_revision(options)
        try:
            known = self.storage.snapshot(kind.stored_as, revision, options.namespace)
        except TooOld as error:
            text = "The provided continue parameter is too old to display a consistent list result. You can start a new"
            raise expired(f"{text} list without the continue parameter." if after else str(error)) from error
        items: list[Obj] = []
        rest = 0
        last: Key = ("", "")
        for key, obj in known:
            if (after is not None and key <= after) or not self.matches(kind, options, obj):
                continue
            if options.limit and len(items) == options.limit:
                rest += 1
            else:
                items.append(self.shown(kind, obj))
                last = key
        if not rest:
            return Page(items, revision)
        selected = options.labels.requirements or options.fields.requirements
        return Page(items, revision, _token(revision, last), None if selected else rest)

    def _list_revision(self, options: ListOptions) -> tuple[int, Key | None]:
        current = self.storage.revision
        if options.continue_token:
            return _parse_token(options.continue_token)
        asked = self.parse_revision(options.resource_version)
        if asked > current:
            raise too_large_resource_version(asked, current)
        return (asked if options.match == "Exact" else current), None

    @staticmethod
    def parse_revision(text: str) -> int:
        """The resourceVersion of a request as a number, 0 for none; raises ApiFailure 400."""
        if not text:
            return 0
        if not text.isascii() or not text.isdigit():
            why = f'strconv.ParseUint: parsing "{text}": invalid syntax'
            raise bad_request(f'invalid resource version: resourceVersion: Invalid value: "{text}": {why}')
        return int(text)

    # --- creating -----------------------------------------------------------------------------------------------------

    def decode(self, kind: Kind, obj: Obj, options: WriteOptions) -> Obj:
        """Keep what the kind knows and check the types; raises ApiFailure 400."""
        if not kind.model:
            return clone(obj) if kind.custom is None else _custom_object(obj)
        try:
            decoded = schema.decode(kind.model, obj)
        except schema.WrongType as error:
            raise bad_request(
                f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: {error}'
            ) from error
        if decoded.unknown and options.validation != "Ignore":
            texts = [f'unknown field "{path}"' for path in decoded.unknown]
            if options.validation == "Strict":
                listed = ", ".join(texts)
                raise bad_request(
                    f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: '
                    f"strict decoding error: {listed}"
                )
            options.warnings += texts
        return decoded.value

    def _checked(self, kind: Kind, namespace: str, obj: Obj) -> Obj:
        """The object with kind, apiVersion and namespace filled in; raises ApiFailure 400 where they contradict."""
        expected = {"kind": kind.kind, "apiVersion": kind.api_version}
        for part, value in expected.items():
            found = obj.get(part)
            if found and found != value:
                named = f"{obj.get('apiVersion', kind.api_version)}, Kind={obj.get('kind', kind.kind)}"
                raise bad_request(
                    f"the object provided is unrecognized (must be of type {kind.kind}): "
                    f"no kind matches {named}, expected {kind.api_version}, Kind={kind.kind}"
                )
        metadata = obj.get("metadata")
        metadata = dict(metadata) if isinstance(metadata, dict) else {}
        if kind.namespaced:
            if metadata.get("namespace") and metadata["namespace"] != namespace:
                raise bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request"
                )
            metadata["namespace"] = namespace
        else:
            metadata.pop("namespace", None)
        return {**expected, "metadata": metadata, **{k: v for k, v in obj.items() if k not in (*expected, "metadata")}}

    def create(self, kind: Kind, namespace: str, obj: Obj, options: WriteOptions) -> Obj:
        """Create an object; returns it as the kind shows it. Raises ApiFailure."""
        new = self.decode(kind, self._checked(kind, namespace, obj), options)
        self._check_namespace(kind, namespace, new)
        if new["metadata"].get("resourceVersion"):
            message = "resourceVersion should not be set on objects to be created"
            raise ApiFailure(500, "", message)
        self._begin(kind, new)
        if kind.conversion:
            new = kind.conversion.to_storage(new)
        metadata = new["metadata"]
        kind.strategy.prepare_create(new, self._context(options.dry_run))
        causes = validation.object_meta(kind.strategy, metadata) + kind.strategy.validate(new)
        name = metadata.get("name", "")
        if causes:
            raise invalid_object(kind, name, causes)
        key = (metadata.get("namespace", ""), name)
        if self.storage.get(kind.stored_as, key) is not None:
            raise already_exists(kind, name)
        stored = new if options.dry_run else self.storage.put(kind.stored_as, key, new)
        return self.shown(kind, stored)

    def _begin(self, kind: Kind, new: Obj) -> None:
        """The metadata that the server gives a new object."""
        metadata = new["metadata"]
        for part in ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"):
            metadata.pop(part, None)
        metadata.pop("generation", None)
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = metadata["generateName"][:58] + random_suffix()
        ordered = {"name": metadata.pop("name", "")} if metadata.get("name") else {}
        for part in ("generateName", "namespace"):
            if part in metadata:
                ordered[part] = metadata.pop(part)
        ordered["uid"] = str(uuid.uuid4())
        if kind.strategy.generation:
            ordered["generation"] = 1
        ordered["creationTimestamp"] = timestamp()
        new["metadata"] = {**ordered, **metadata}
        if kind.has_status and not kind.strategy.status_on_create:
            new.pop("status", None)
            if kind.model and "status" in schema.ALWAYS.get(kind.model, {}):
                new["status"] = schema.zero(schema.fields(kind.model)["status"].name)

    def _check_namespace(self, kind: Kind, namespace: str, new: Obj) -> None:
        if not kind.namespaced:
            return
        found = self.storage.get(_NAMESPACES, ("", namespace))
        if found is None:
            details: Obj = {"name": namespace, "kind": "namespaces"}
            raise ApiFailure(404, "NotFound", f'namespaces "{namespace}" not found', details)
        if "deletionTimestamp" in found["metadata"]:
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            failure = forbidden(kind, new["metadata"].get("name", ""), why)
            cause = {"reason": "NamespaceTerminating", "message": f"namespace {namespace} is being terminated",
                     "field": "metadata.namespace"}  # fmt: skip
            failure.details = {**(failure.details or {}), "causes": [cause]}
            raise failure

    # --- changing -----------------------------------------------------------------------------------------------------

    def replace(
        self, kind: Kind, namespace: str, name: str, obj: Obj, options: WriteOptions, *, subresource: str = ""
    ) -> tuple[Obj, bool]:
        """PUT: returns the object and whether it was created. Raises ApiFailure."""
        sent = self._checked(kind, namespace, obj)
        metadata = sent["metadata"]
        if metadata.get("name", name) != name:
            why = f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})"
            raise bad_request(why)
        metadata["name"] = name
        current = self.storage.get(kind.stored_as, (namespace, name))
        if current is None and kind.strategy.create_on_update and not subresource and not metadata.get("uid"):
            metadata.pop("resourceVersion", None)
            return self.create(kind, namespace, sent, options), True
        if current is None:
            raise not_found(kind, name)
        if metadata.get("uid") and metadata["uid"] != current["metadata"]["uid"]:
            found = current["metadata"]["uid"]
            why = f"Precondition failed: UID in precondition: {metadata['uid']}, UID in object meta: {found}"
            raise conflict(kind, name, why)
        if not metadata.get("resourceVersion") and not kind.strategy.unconditional_update:
            cause = invalid("metadata.resourceVersion", "0", "must be specified for an update")
            raise invalid_object(kind, name, [cause])
        return self.change(kind, namespace, name, lambda _: sent, options, subresource=subresource), False

    def change(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        transform: Transform,
        options: WriteOptions,
        *,
        subresource: str = "",
    ) -> Obj:
        """Read, transform and write an object. `subresource` "status" writes the status alone; "" all but the status.

        A result that does not differ is not written. Raises ApiFailure.
        """
        old = self.storage.get(kind.stored_as, (namespace, name))
        if old is None:
            raise not_found(kind, name)
        return self._change(kind, namespace, old, transform(self.shown(kind, old)), options, subresource, applied=False)

    def _change(
        self,
        kind: Kind,
        namespace: str,
        old: Obj,
        changed: Obj,
        options: WriteOptions,
        subresource: str,
        *,
        applied: bool,
    ) -> Obj:
        """Write a changed object over `old`; `applied` says that it carries its record of owners."""
        key = (old["metadata"].get("namespace", ""), old["metadata"]["name"])
        name = key[1]
        new = self.decode(kind, self._checked(kind, namespace, changed), options)
        if kind.conversion:
            new = kind.conversion.to_storage(new)
        asked = new["metadata"].get("resourceVersion")
        if asked and asked != old["metadata"]["resourceVersion"]:
            raise modified(kind, name)
        self._carry_over(kind, new, old, subresource)
        context = self._context(options.dry_run)
        if not subresource:
            kind.strategy.prepare_update(new, old, context)
        causes = validation.object_meta_update(new["metadata"], old["metadata"])
        if not subresource:
            causes += kind.strategy.validate_update(new, old)
        if causes:
            raise invalid_object(kind, name, causes)
        if "generation" in new["metadata"] and not _same_spec(new, old):
            new["metadata"]["generation"] += 1
        if not applied:
            apply.track_update(kind, new, old, options.manager, subresource)
        return self.shown(kind, self._write(kind, key, new, old, options))

    def apply(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        applied: Obj,
        options: WriteOptions,
        *,
        force: bool,
        subresource: str,
    ) -> tuple[Obj, bool]:
        """Server-side apply: returns the object and whether it was created. Raises ApiFailure."""
        metadata = applied.get("metadata") or {}
        if metadata.get("managedFields"):
            raise bad_request("metadata.managedFields must be nil")
        if metadata.get("name", name) != name:
            raise bad_request(
                f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})"
            )
        old = self.storage.get(kind.stored_as, (namespace, name))
        decoded = self.decode(kind, self._checked(kind, namespace, applied), options)
        applied = _sent_part(decoded, applied)  # in the types of the schema, so that 1 and "1" do not differ
        if old is None:
            if metadata.get("uid") or subresource:
                raise not_found(kind, name)
            record = apply.applied_record(kind, applied, options.manager)
            body = {**applied, "metadata": {**metadata, "name": name, "managedFields": record}}
            return self.create(kind, namespace, body, options), True
        merged = apply.apply(kind, clone(old), applied, options.manager, subresource, force=force)
        if not metadata.get("resourceVersion"):
            merged["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
        return self._change(kind, namespace, old, merged, options, subresource, applied=True), False

    def _carry_over(self, kind: Kind, new: Obj, old: Obj, subresource: str) -> None:
        """What an update may not touch stays as it was."""
        before = old["metadata"]
        metadata = new["metadata"]
        if subresource == "status":
            status = new.get("status")
            kept = {key: value for key, value in old.items() if key != "status"}
            new.clear()
            new.update(kept)
            if status is not None:
                new["status"] = status
            if kind.strategy.status_metadata:
                metadata = {**metadata}
                metadata.pop("ownerReferences", None)
                if "ownerReferences" in before:
                    metadata["ownerReferences"] = before["ownerReferences"]
            else:
                metadata = {**before, "uid": metadata.get("uid", before["uid"])}
        elif kind.has_status:
            new.pop("status", None)
            if "status" in old:
                new["status"] = clone(old["status"])
        fixed = ("creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "generateName")
        kept_meta = {part: before[part] for part in fixed if part in before}
        rest = {k: v for k, v in metadata.items() if k not in (*fixed, "resourceVersion", "selfLink")}
        new["metadata"] = {
            "name": before["name"],
            "uid": before["uid"],
            **rest,
            **kept_meta,
            "resourceVersion": before["resourceVersion"],
        }

    def _write(self, kind: Kind, key: Key, new: Obj, old: Obj, options: WriteOptions) -> Obj:
        metadata = new["metadata"]
        if options.dry_run:
            return new
        if deletion.ends_with_update(kind, new):
            self._remove(kind, key)
            return {**new, "metadata": {**metadata, "resourceVersion": str(self.storage.revision)}}
        if new == old:
            return old
        return self.storage.put(kind.stored_as, key, new)

    def overwrite(self, kind: Kind, obj: Obj, options: WriteOptions) -> Obj:
        """Store an object that the server itself has changed, whatever a client's update may not touch."""
        metadata = obj["metadata"]
        key = (metadata.get("namespace", ""), metadata["name"])
        old = self.storage.get(kind.stored_as, key)
        if old is None:
            raise not_found(kind, metadata["name"])
        return self._write(kind, key, {**obj, "metadata": dict(metadata)}, old, options)

    # --- deleting -----------------------------------------------------------------------------------------------------

    def delete(self, kind: Kind, namespace: str, name: str, options: deletion.DeleteOptions) -> Obj:
        """DELETE: returns the object, or a Status. Raises ApiFailure."""
        key = (namespace, name)
        obj = self.storage.get(kind.stored_as, key)
        if obj is None:
            raise not_found(kind, name)
        deletion.check_preconditions(kind, obj, options)
        verdict = deletion.decide(kind, obj, options)
        if verdict.outcome == "wait":
            return self.shown(kind, obj)
        if verdict.obj is not None and verdict.obj != obj:
            obj = verdict.obj if options.dry_run else self.storage.put(kind.stored_as, key, verdict.obj)
        if verdict.outcome == "mark":
            return self.shown(kind, obj)
        if not options.dry_run:
            obj = self._remove(kind, key)
        if kind.strategy.returns_deleted:
            return self.shown(kind, obj)
        details: Obj = {"name": name}
        if kind.group:
            details["group"] = kind.group
        return success(details={**details, "kind": kind.plural, "uid": obj["metadata"]["uid"]})

    def _remove(self, kind: Kind, key: Key) -> Obj:
        gone = self.storage.remove(kind.stored_as, key)
        kind.strategy.released(gone, self._context())
        return gone

    def delete_collection(self, kind: Kind, options: ListOptions, how: deletion.DeleteOptions) -> Page:
        """DELETE of a list: returns the objects as they were."""
        page = self.list(kind, options)
        for obj in page.items:
            metadata = obj["metadata"]
            try:
                self.delete(kind, metadata.get("namespace", ""), metadata["name"], replace(how, uid=metadata["uid"]))
            except ApiFailure as failure:
                if failure.code != 404:
                    raise
        return page


def _same_spec(new: Obj, old: Obj) -> bool:
    """Whether everything but metadata and status is the same."""
    ignored = ("metadata", "status")
    return {k: v for k, v in new.items() if k not in ignored} == {k: v for k, v in old.items() if k not in ignored}


def _sent_part(decoded: Any, sent: Any) -> Any:
    """What of a decoded object was sent, without what decoding has filled in."""
    if isinstance(decoded, dict) and isinstance(sent, dict):
        return {key: _sent_part(value, sent[key]) for key, value in decoded.items() if key in sent}
    if isinstance(decoded, list) and isinstance(sent, list) and len(decoded) == len(sent):
        return [_sent_part(one, original) for one, original in zip(decoded, sent, strict=True)]
    return decoded


def _custom_object(obj: Obj) -> Obj:
    """A custom resource: its metadata has the fields of all objects, the rest is free."""
    metadata = schema.decode("V1ObjectMeta", obj["metadata"]).value
    return {**clone({k: v for k, v in obj.items() if k != "metadata"}), "metadata": metadata}


def _token(revision: int, last: Key) -> str:
    text = json.dumps({"v": "meta.k8s.io/v1", "rv": revision, "start": "/".join(last)}, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _parse_token(token: str) -> tuple[int, Key]:
    try:
        decoded = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        namespace, _, name = decoded["start"].partition("/")
        return int(decoded["rv"]), (namespace, name)
    except (ValueError, KeyError, TypeError) as error:
        raise bad_request(f"continue key is not valid: {error}") from error
