"""What a person is told about a node that is lost and not proved gone."""

from dataclasses import replace

from hamgr.cib.status import FenceStatus, NodeStatus, ResourceStatus
from hamgr.controller.advice import about_lost_nodes

LOST = NodeStatus("n2", unclean=True)
MEMBERS = (ResourceStatus("disk", nodes=("n2",)), ResourceStatus("db", nodes=("n2",)), ResourceStatus("ip"))
RESOURCES = (
    ResourceStatus("fencing", agent="stonith:hamgr", nodes=("n2",)),
    ResourceStatus("shop", kind="group", nodes=("n2",), children=MEMBERS),
)
FAILED = FenceStatus("f1", "n2", "failed")


def told(node=LOST, fences=(FAILED,)):
    return list(about_lost_nodes((NodeStatus("n1", online=True), node), RESOURCES, fences))


def test_it_names_what_waits_and_the_command():
    assert told() == [
        "node n2 is lost and not proved gone: disk, db will not start elsewhere until it is. hamgr goes on trying. "
        "To end it by hand: go and see that n2 is off, then `hamgr fence --confirm n2`"
    ]


def test_nobody_is_sent_to_a_node_before_fencing_has_failed():
    pending = replace(FAILED, id="f2", outcome="pending")
    assert told(fences=()) == told(fences=(pending,)) == []
    assert told(fences=(replace(FAILED, target="n1"),)) == []
    assert len(told(fences=(pending, FAILED))) == 1


def test_a_fence_that_goes_on_trying_in_vain_is_one_that_has_failed_so_far():
    trying = replace(FAILED, outcome="pending", tried=1)
    assert told(fences=(trying,)) == told()
    assert told(fences=(replace(trying, tried=0),)) == []
    assert told(fences=(replace(trying, target="n1"),)) == []


def test_nor_to_one_that_is_settled():
    assert told(fences=(replace(FAILED, id="f2", outcome="succeeded"), FAILED)) == []
    assert told(fences=(replace(FAILED, id="f2", outcome="pending", proof="root@x confirmed it"), FAILED)) == []
    assert told(replace(LOST, unclean=False)) == []
    assert told(replace(LOST, online=True)) == []
