"""Reduces a CIB on which two schedulers differ to a small one on which they still differ in the same way.

Works on the document, not on the choices that generated it: elements go first (big ones before small ones), then
attributes. What remains is what the difference needs.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from xml.etree import ElementTree as ET

_KEPT_TAGS = frozenset({"configuration", "crm_config", "nodes", "resources", "constraints", "status"})
# Histories keep what a controller always writes: without it, other differences would creep in.
_KEPT_ELEMENTS = frozenset({"lrm_rsc_op", "lrm_resource", "node_state", "primitive", "cib"})
_KEPT_ATTRIBUTES = frozenset({"id", "uname", "name", "value"})


def shrink(text: str, still: Callable[[str], bool], budget_s: float) -> str:
    """The smallest document found within the time (seconds) for which `still` holds; it must hold for `text`."""
    root = ET.fromstring(text)
    deadline = time.monotonic() + budget_s
    size = -1
    while size != len(list(root.iter())) and time.monotonic() < deadline:
        size = len(list(root.iter()))
        root = _without_elements(root, still, deadline)
        root = _without_attributes(root, still, deadline)
    return _text(root)


def _text(root: ET.Element) -> str:
    root = copy.deepcopy(root)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def _without_elements(root: ET.Element, still: Callable[[str], bool], deadline: float) -> ET.Element:
    index = 1
    while time.monotonic() < deadline:
        trial = copy.deepcopy(root)
        elements = list(trial.iter())
        if index >= len(elements):
            break
        victim = elements[index]
        if victim.tag in _KEPT_TAGS:
            index += 1
            continue
        parents = {child: parent for parent in trial.iter() for child in parent}
        parents[victim].remove(victim)
        _drop_references(trial, victim)
        if still(_text(trial)):
            root = trial
        else:
            index += 1
    return root


def _drop_references(root: ET.Element, gone: ET.Element) -> None:
    """Remove what names resources that are no more: the schema would refuse the document."""
    ids = {element.get("id") for element in gone.iter() if element.tag in ("primitive", "group", "clone")}
    constraints = root.find("configuration/constraints")
    if not ids or constraints is None:
        return
    for constraint in list(constraints):
        names = {constraint.get(key) for key in ("rsc", "with-rsc", "first", "then")}
        for owner in constraint.findall("resource_set"):
            for reference in [entry for entry in owner if entry.get("id") in ids]:
                owner.remove(reference)
            if not len(owner):
                constraint.remove(owner)
        if names & ids or not (names - {None} or len(constraint)):
            constraints.remove(constraint)


def _without_attributes(root: ET.Element, still: Callable[[str], bool], deadline: float) -> ET.Element:
    places = [
        (index, name)
        for index, element in enumerate(root.iter())
        for name in element.attrib
        if name not in _KEPT_ATTRIBUTES and element.tag not in _KEPT_ELEMENTS
    ]
    for index, name in places:
        if time.monotonic() >= deadline:
            break
        trial = copy.deepcopy(root)
        del list(trial.iter())[index].attrib[name]
        if still(_text(trial)):
            root = trial
    return root
