"""The environment of a container: env, envFrom, valueFrom and the $(NAME) references in commands, as values."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
_REFERENCE = re.compile(r"\$\$|\$\(([^()\s]+)\)")


class MissingReference(Exception):
    """A Secret, ConfigMap, key or field that the container needs is not there; the message is Kubernetes' own."""


@dataclass(frozen=True, slots=True)
class Sources:
    """The objects that environments and volumes take data from, by name; absent ones do not exist."""

    secrets: Mapping[str, Json] = field(default_factory=dict)
    config_maps: Mapping[str, Json] = field(default_factory=dict)

    def secret(self, name: str) -> dict[str, bytes]:
        """Decoded data of a Secret. Raises MissingReference."""
        if name not in self.secrets:
            raise MissingReference(f'secret "{name}" not found')
        return secret_data(self.secrets[name])

    def config_map(self, name: str) -> dict[str, bytes]:
        """Data of a ConfigMap. Raises MissingReference."""
        if name not in self.config_maps:
            raise MissingReference(f'configmap "{name}" not found')
        return config_map_data(self.config_maps[name])


def secret_data(secret: Json) -> dict[str, bytes]:
    return {key: base64.b64decode(value) for key, value in (secret.get("data") or {}).items()}


def config_map_data(config_map: Json) -> dict[str, bytes]:
    text = {key: value.encode() for key, value in (config_map.get("data") or {}).items()}
    return text | {key: base64.b64decode(value) for key, value in (config_map.get("binaryData") or {}).items()}


def references(pod: Json) -> tuple[set[str], set[str]]:
    """Names of the Secrets and of the ConfigMaps that the environments and volumes of a pod mention."""
    secrets: set[str] = set()
    config_maps: set[str] = set()
    spec = pod["spec"]
    for container in all_containers(spec):
        for source in container.get("envFrom") or []:
            _note(source.get("secretRef"), secrets)
            _note(source.get("configMapRef"), config_maps)
        for variable in container.get("env") or []:
            value_from = variable.get("valueFrom") or {}
            _note(value_from.get("secretKeyRef"), secrets)
            _note(value_from.get("configMapKeyRef"), config_maps)
    for volume in spec.get("volumes") or []:
        if "secret" in volume:
            secrets.add(volume["secret"]["secretName"])
        _note(volume.get("configMap"), config_maps)
        for source in (volume.get("projected") or {}).get("sources") or []:
            _note(source.get("secret"), secrets)
            _note(source.get("configMap"), config_maps)
    return secrets, config_maps


def _note(reference: Json | None, names: set[str]) -> None:
    if reference and reference.get("name"):
        names.add(reference["name"])


def all_containers(spec: Json) -> list[Json]:
    return [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]


def environment_of(container: Json, pod: Json, node: Json, sources: Sources) -> dict[str, str]:
    """The container's variables. ``node`` gives status.hostIP and spec.nodeName. Raises MissingReference."""
    variables: dict[str, str] = {}
    for source in container.get("envFrom") or []:
        prefix = source.get("prefix", "")
        for key, value in _whole(source, sources).items():
            variables[prefix + key] = value.decode(errors="replace")
    for variable in container.get("env") or []:
        if "valueFrom" in variable:
            value_or_none = _value_from(variable["valueFrom"], container, pod, node, sources)
            if value_or_none is not None:
                variables[variable["name"]] = value_or_none
        else:
            variables[variable["name"]] = expanded(variable.get("value") or "", variables)
    return variables


def _whole(source: Json, sources: Sources) -> dict[str, bytes]:
    reference = source.get("secretRef") or source.get("configMapRef") or {}
    lookup = sources.secret if "secretRef" in source else sources.config_map
    try:
        return lookup(reference["name"])
    except MissingReference:
        if reference.get("optional"):
            return {}
        raise


def _value_from(source: Json, container: Json, pod: Json, node: Json, sources: Sources) -> str | None:
    if "fieldRef" in source:
        return field_value(source["fieldRef"]["fieldPath"], pod, node)
    if "resourceFieldRef" in source:
        return resource_value(source["resourceFieldRef"], container)
    namespace = pod["metadata"].get("namespace", "")
    kind = "secretKeyRef" if "secretKeyRef" in source else "configMapKeyRef"
    reference = source[kind]
    lookup, title = (sources.secret, "Secret") if kind == "secretKeyRef" else (sources.config_map, "ConfigMap")
    try:
        data = lookup(reference["name"])
        if reference["key"] not in data:
            raise MissingReference(f"couldn't find key {reference['key']} in {title} {namespace}/{reference['name']}")
    except MissingReference:
        if reference.get("optional"):
            return None
        raise
    return data[reference["key"]].decode(errors="replace")


def field_value(path: str, pod: Json, node: Json) -> str:
    """A field of the downward API as text. Raises MissingReference for fields that it does not offer."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    if match := re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", path):
        return str((metadata.get(match[1]) or {}).get(match[2], ""))
    if path in ("metadata.labels", "metadata.annotations"):
        pairs = metadata.get(path.removeprefix("metadata.")) or {}
        return "\n".join(f'{key}="{value}"' for key, value in sorted(pairs.items()))
    fields = {
        "metadata.name": metadata.get("name"),
        "metadata.namespace": metadata.get("namespace"),
        "metadata.uid": metadata.get("uid"),
        "spec.nodeName": pod["spec"].get("nodeName"),
        "spec.serviceAccountName": pod["spec"].get("serviceAccountName", "default"),
        "status.hostIP": node.get("address"),
        "status.hostIPs": node.get("address"),
        "status.podIP": status.get("podIP"),
        "status.podIPs": status.get("podIP"),
    }
    if path not in fields:
        raise MissingReference(f"unsupported fieldPath: {path}")
    return str(fields[path] or "")


def resource_value(reference: Json, container: Json) -> str:
    """A container's own limit or request; "0" when it has none, since this machine sets no limits."""
    kind, _, resource = str(reference["resource"]).partition(".")
    return str(((container.get("resources") or {}).get(kind) or {}).get(resource, "0"))


def expanded(text: str, variables: Mapping[str, str]) -> str:
    """Replace $(NAME) by the variable's value; $$ is a dollar sign, and unknown names stay as they are."""

    def value(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return variables.get(match[1], match[0])

    return _REFERENCE.sub(value, text)


def expanded_all(words: Iterable[str], variables: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(expanded(word, variables) for word in words)
