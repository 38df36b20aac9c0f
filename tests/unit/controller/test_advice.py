"""What a person is told about a node that has to be fenced."""

from dataclasses import replace

from hamgr.api.status import FenceStatus, NodeStatus, ResourceStatus
from hamgr.controller.fencing.advice import about_unclean_node

LOST = NodeStatus("n2", unclean=True)
MEMBERS = (ResourceStatus("disk", nodes=("n2",)), ResourceStatus("db", nodes=("n2",)), ResourceStatus("ip"))
RESOURCES = (
    ResourceStatus("fencing", agent="stonith:hamgr", nodes=("n2",)),
    ResourceStatus("shop", kind="group", nodes=("n2",), children=MEMBERS),
)
FAILED = FenceStatus("f1", "n2", "failed")


def told(node=LOST, fences=(FAILED,)):
    return about_unclean_node(node, RESOURCES, fences)


HOPELESS = (
    "node n2 is lost and not proved gone: disk, db will not start elsewhere until it is. hamgr goes on trying. "
    "To end it by hand: go and see that n2 is off, then `hamgr fence --confirm n2`"
)
UNDER_WAY = "node n2 has to be fenced: disk, db can start elsewhere once it is proved gone"


def test_it_names_what_waits_and_the_command():
    assert told() == HOPELESS


def test_nobody_is_sent_to_a_node_before_fencing_has_failed():
    pending = replace(FAILED, id="f2", outcome="pending")
    assert told(fences=()) == told(fences=(pending,)) == UNDER_WAY
    assert told(fences=(replace(FAILED, target="n1"),)) == UNDER_WAY
    assert told(fences=(pending, FAILED)) == HOPELESS


def test_a_fence_that_goes_on_trying_in_vain_is_one_that_has_failed_so_far():
    trying = replace(FAILED, outcome="pending", tried=1)
    assert told(fences=(trying,)) == HOPELESS
    assert told(fences=(replace(trying, tried=0),)) == UNDER_WAY
    assert told(fences=(replace(trying, target="n1"),)) == UNDER_WAY


def test_nor_to_one_whose_proof_is_there():
    assert told(fences=(replace(FAILED, id="f2", outcome="succeeded"), FAILED)) == UNDER_WAY
    proved = replace(FAILED, id="f2", outcome="pending", proof="root@x confirmed it")
    assert told(fences=(proved, FAILED)).startswith("node n2 is proved gone and its disks are being released")


def test_nor_to_one_that_is_there_and_has_to_be_fenced():
    text = told(replace(LOST, online=True))
    assert text.startswith("node n2 has to be fenced, and that has failed so far: disk, db will not start elsewhere")
    assert "--confirm" not in text
