"""Several clouds as one: nobody's silence, absence or refusal stands in another's way."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from cvl_ci.clouds import Inventories, all_inventories, provable_clouds
from cvl_ci.clouds.provider import ProviderInventory, ScopeAnswer
from cvl_ci.errors import EngineError
from cvl_ci.model.location import Location
from cvl_ci.ports import Resource, ResourceKind


@dataclass
class Cloud:
    """One that does as it is told, or refuses."""

    name: str
    refuses: str = ""
    kinds: tuple[str, ...] = ("machines",)
    patience_seconds: float = 1.0
    ended: list[str] = field(default_factory=list)

    def scopes(self, locations: Sequence[Location]) -> Sequence[str]:
        return ["here"]

    def list_resources(self, scope: str, *, lease: str | None) -> ScopeAnswer:
        return ScopeAnswer(resources=[self.machine("a"), self.machine("b")])

    def machine(self, name: str) -> Resource:
        return Resource(
            provider=self.name, region="here", kind=ResourceKind.MACHINE, id=name, state="running", labels={}
        )

    def end(self, resource: Resource) -> None:
        if self.refuses == resource.id:
            raise OSError("it is locked")
        self.ended.append(resource.id)


def test_each_cloud_is_asked_about_its_own_places_and_the_slowest_sets_the_patience() -> None:
    one, two = Cloud("gcp", patience_seconds=300), Cloud("azure", patience_seconds=900)
    both = Inventories({cloud.name: ProviderInventory(cloud) for cloud in (one, two)})
    result = both.find(lease="x", locations=[Location(cloud="gcp"), Location(cloud="azure", region="eastus")])
    assert [request.provider for request in result.asked] == ["gcp", "azure"]
    assert result.patience_seconds == 900
    assert [request.provider for request in both.find(lease="x", locations=[Location(cloud="gcp")]).asked] == ["gcp"]


def test_a_cloud_that_nobody_here_can_ask_is_unproved_beside_those_that_were_asked() -> None:
    result = Inventories({"gcp": ProviderInventory(Cloud("gcp"))}).find(
        lease="x", locations=[Location(cloud="vast"), Location(cloud="gcp")]
    )
    assert result.unproved == ("vast",)
    assert len(result.asked) == 1


def test_a_question_without_a_place_goes_to_those_that_are_set_up() -> None:
    clouds = {name: ProviderInventory(Cloud(name)) for name in ("gcp", "azure")}
    assert [a.provider for a in Inventories(clouds, anywhere=["azure"]).find(lease="x", locations=[]).asked] == [
        "azure"
    ]
    assert len(Inventories(clouds).find(lease="x", locations=[]).asked) == 2


def test_one_cloud_s_refusal_keeps_no_other_waiting_and_all_are_told() -> None:
    one, two, three = Cloud("gcp", refuses="a"), Cloud("azure", refuses="b"), Cloud("lambda")
    all_three = Inventories({cloud.name: ProviderInventory(cloud) for cloud in (one, two, three)})
    result = all_three.find(lease="x", locations=[])
    with pytest.raises(EngineError) as error:
        all_three.remove(result.read()[0])
    assert (one.ended, two.ended, sorted(three.ended)) == (["b"], ["a"], ["a", "b"])
    assert "gcp refused" in error.value.what
    assert "azure refused" in error.value.what
    assert "billed" in error.value.money


def test_nothing_to_end_asks_nobody() -> None:
    Inventories({"gcp": ProviderInventory(Cloud("gcp", refuses="a"))}).remove([])


def test_every_cloud_that_a_run_may_go_to_can_be_asked() -> None:
    result = all_inventories({"PATH": "", "HOME": "/nowhere"}).find(
        lease="cvl-1-00000000",
        locations=[Location(cloud=cloud) for cloud in provable_clouds() if cloud not in {"aws", "api-server"}],
    )
    assert result.unproved == ()
    assert {request.provider for request in result.asked} == {*provable_clouds()} - {"aws", "api-server"}
    assert all(request.error for request in result.asked), "nothing is set up here, so nobody may be clean"


def test_making_the_inventories_loads_no_cloud_s_library() -> None:
    program = (
        "import sys; from cvl_ci import clouds as inventory; inventory.all_inventories({'HOME': '/nowhere'});"
        "print([name for name in ('boto3', 'botocore', 'requests', 'google.auth', 'urllib3') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.strip() == "[]"
