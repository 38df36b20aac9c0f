"""The table of variants: which object does for primitives, groups, clones and bundles what each does in its own way."""

from __future__ import annotations

from hamgr.cib import model
from hamgr.scheduler.state.constants import Variant
from hamgr.scheduler.state.working_set import VariantMethods
from hamgr.scheduler.variants.primitives import PrimitiveMethods


def variants_of(cib: model.Cib) -> dict[int, VariantMethods]:
    """The table for the kinds of resources that a CIB has; the modules of the others are not even imported."""
    kinds = {type(resource) for resource in cib.resources}
    has_bundles = model.Bundle in kinds
    table: dict[int, VariantMethods] = {Variant.PRIMITIVE: PrimitiveMethods()}
    has_clones = has_bundles or model.Clone in kinds
    if has_clones or model.Group in kinds:
        from hamgr.scheduler.variants.groups import GroupMethods

        table[Variant.GROUP] = GroupMethods()
    if has_clones:
        from hamgr.scheduler.variants.clones import CloneMethods

        table[Variant.CLONE] = CloneMethods()
    if has_bundles:
        from hamgr.scheduler.variants.bundles import BundleMethods

        table[Variant.BUNDLE] = BundleMethods()
    return table
