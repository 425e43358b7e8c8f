"""The order of removal: a creator before its creations, machines before everything that they use."""

from __future__ import annotations

import random

import pytest

from cvl_ci.model.resource import Resource, ResourceKind, in_removal_order


def resource(kind: ResourceKind, *, ending: bool = False, stays: bool = False) -> Resource:
    return Resource(
        provider="aws",
        region="us-east-1",
        kind=kind,
        id=f"{kind.value} {ending} {stays}",
        state="there",
        labels={},
        ending=ending,
        stays=stays,
    )


@pytest.mark.parametrize("seed", range(20))
def test_resources_of_all_kinds_are_removed_kind_by_kind_in_the_order_of_the_enum(seed: int) -> None:
    resources = [resource(kind) for kind in ResourceKind for _ in range(2)]
    random.Random(seed).shuffle(resources)
    batches = list(in_removal_order(resources))
    assert [batch[0].kind for batch in batches] == list(ResourceKind)
    assert all(len(batch) == 2 for batch in batches)


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (ResourceKind.LAUNCH, ResourceKind.CLUSTER),
        (ResourceKind.SERVICE_CONTROLLER, ResourceKind.MACHINE),
        (ResourceKind.SPOT_REQUEST, ResourceKind.MACHINE),
        (ResourceKind.MACHINE, ResourceKind.DISK),
        (ResourceKind.MACHINE, ResourceKind.SECURITY_GROUP),
        (ResourceKind.MULTIPART_UPLOAD, ResourceKind.BUCKET),
    ],
)
def test_a_kind_that_makes_or_uses_another_goes_first(first: ResourceKind, then: ResourceKind) -> None:
    assert [batch[0].kind for batch in in_removal_order([resource(then), resource(first)])] == [first, then]


def test_a_resource_that_ends_or_is_meant_to_stay_is_not_removed() -> None:
    staying = [resource(ResourceKind.BUCKET, stays=True), resource(ResourceKind.MACHINE, ending=True)]
    assert list(in_removal_order(staying)) == []
    assert not any(one.is_leftover for one in staying)
