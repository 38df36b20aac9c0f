"""The server's semantics over real HTTP, told without the recordings."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from hamgr_sandbox.apiserver import ApiServer, Settings, running
from hamgr_sandbox.apiserver.accounts import bearer, request_token
from hamgr_sandbox.apiserver.auth import Authenticator, User
from hamgr_sandbox.apiserver.rbac import RoleBased

Obj = dict[str, Any]

PODS = "/api/v1/namespaces/default/pods"
MERGE = "application/merge-patch+json"


class Api:
    """One server and a client of it."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session = session
        self.url = url

    async def send(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json", **headers: str
    ) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body)
        sent = {"Content-Type": content_type, **headers}
        async with self.session.request(method, self.url + path, data=data, headers=sent) as response:
            text = await response.text()
            return response.status, json.loads(text) if text.startswith("{") else text

    async def ok(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Obj:
        code, answer = await self.send(method, path, body, content_type)
        assert code < 300, answer
        found: Obj = answer
        return found

    async def gone(self, path: str) -> None:
        """Wait until an object is no longer there."""
        for _ in range(500):
            if (await self.send("GET", path))[0] == 404:
                return
            await asyncio.sleep(0.01)
        pytest.fail(f"{path} is still there")

    async def watch(self, path: str, count: int, during: Callable[[], Awaitable[None]] | None = None) -> list[Obj]:
        """The first `count` events of a watch, while something else happens."""
        events: list[Obj] = []
        async with self.session.get(
            f"{self.url}{path}{'&' if '?' in path else '?'}watch=1&timeoutSeconds=20"
        ) as response:
            if during:
                await during()
            while len(events) < count and (line := await response.content.readline()):
                events.append(json.loads(line))
        return events


def with_api(scenario: Callable[[Api], Awaitable[None]], settings: Settings | None = None) -> None:
    async def run() -> None:
        server = ApiServer(settings or Settings())
        async with running(server) as (url,), aiohttp.ClientSession() as session:
            await scenario(Api(session, url))

    asyncio.run(run())


def pod(name: str, node: str = "", **metadata: Any) -> Obj:
    spec: Obj = {"containers": [{"name": "c", "image": "x:1"}]} | ({"nodeName": node} if node else {})
    return {"metadata": {"name": name, **metadata}, "spec": spec}


def test_a_bound_pod_waits_for_its_node_and_a_forced_one_does_not() -> None:
    async def scenario(api: Api) -> None:
        made = await api.ok("POST", PODS, pod("a", "n1"))
        code, refused = await api.send("DELETE", f"{PODS}/a", {"preconditions": {"uid": "another"}})
        assert (code, refused["reason"]) == (409, "Conflict")
        # A body without gracePeriodSeconds makes it a graceful delete, whatever the query says.
        body = {"preconditions": {"uid": made["metadata"]["uid"]}}
        marked = await api.ok("DELETE", f"{PODS}/a?gracePeriodSeconds=0", body)
        assert marked["metadata"]["deletionGracePeriodSeconds"] == 30
        assert (await api.ok("GET", f"{PODS}/a"))["metadata"]["deletionTimestamp"]
        stale = {"gracePeriodSeconds": 0, "preconditions": {"resourceVersion": made["metadata"]["resourceVersion"]}}
        assert (await api.send("DELETE", f"{PODS}/a", stale))[0] == 409
        await api.ok("DELETE", f"{PODS}/a", {"gracePeriodSeconds": 0, **body})
        assert (await api.send("GET", f"{PODS}/a"))[0] == 404

    with_api(scenario)


def test_of_two_writers_with_one_revision_one_loses() -> None:
    async def scenario(api: Api) -> None:
        path = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1"
        lease = await api.ok(
            "POST", path.rpartition("/")[0], {"metadata": {"name": "n1"}, "spec": {"holderIdentity": "a"}}
        )
        lease["spec"]["holderIdentity"] = "b"
        answers = await asyncio.gather(*(api.send("PUT", path, lease) for _ in range(5)))
        # The first writes; an equal body over an old revision is a conflict, not a repeat.
        assert sorted(code for code, _ in answers) == [200, 409, 409, 409, 409]
        unconditional = {**lease, "metadata": {"name": "n1"}}
        assert (await api.send("PUT", path, unconditional))[0] == 422

    with_api(scenario)


def test_watch_tells_changes_at_once_and_from_a_revision() -> None:
    async def scenario(api: Api) -> None:
        start = (await api.ok("GET", PODS))["metadata"]["resourceVersion"]

        async def changes() -> None:
            await api.ok("POST", PODS, pod("a", labels={"app": "x"}))
            await api.ok("PATCH", f"{PODS}/a", {"metadata": {"labels": {"app": "y"}}}, MERGE)
            await api.ok("DELETE", f"{PODS}/a")

        live = await api.watch(f"{PODS}?labelSelector=app%3Dx", 2, changes)
        assert [(e["type"], e["object"]["metadata"]["labels"]["app"]) for e in live] == [
            ("ADDED", "x"),
            ("DELETED", "x"),
        ]
        replayed = await api.watch(f"{PODS}?resourceVersion={start}", 4)
        assert [event["type"] for event in replayed] == ["ADDED", "MODIFIED", "MODIFIED", "DELETED"]
        revisions = [int(event["object"]["metadata"]["resourceVersion"]) for event in replayed]
        assert revisions == sorted(set(revisions))
        assert replayed[1]["object"]["metadata"]["resourceVersion"] == live[1]["object"]["metadata"]["resourceVersion"]

    with_api(scenario)


def test_a_watch_with_initial_events_ends_them_with_a_bookmark() -> None:
    async def scenario(api: Api) -> None:
        await api.ok("POST", PODS, pod("a"))
        query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
        events = await api.watch(f"{PODS}?{query}", 2)
        assert [event["type"] for event in events] == ["ADDED", "BOOKMARK"]
        assert events[1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}

    with_api(scenario)


def test_history_that_is_gone_is_410() -> None:
    async def scenario(api: Api) -> None:
        first = await api.ok("POST", PODS, pod("a"))
        page = await api.ok("GET", f"{PODS}?limit=1&resourceVersion=0")
        await api.ok("POST", PODS, pod("b"))
        page = await api.ok("GET", f"{PODS}?limit=1")
        for i in range(20):
            await api.ok("PATCH", f"{PODS}/a", {"metadata": {"labels": {"i": str(i)}}}, MERGE)
        events = await api.watch(f"{PODS}?resourceVersion={first['metadata']['resourceVersion']}", 1)
        assert (events[0]["type"], events[0]["object"]["code"]) == ("ERROR", 410)
        code, answer = await api.send("GET", f"{PODS}?limit=1&continue={page['metadata']['continue']}")
        assert (code, answer["reason"]) == (410, "Expired")

    with_api(scenario, Settings(window=5))


def test_pages_show_one_state_while_others_write() -> None:
    async def scenario(api: Api) -> None:
        for i in range(5):
            await api.ok("POST", PODS, pod(f"p{i}"))
        names: list[str] = []
        token = ""
        for _ in range(3):
            page = await api.ok("GET", f"{PODS}?limit=2&continue={token}")
            names += [item["metadata"]["name"] for item in page["items"]]
            token = page["metadata"].get("continue", "")
            await api.send("DELETE", f"{PODS}/p4")
            await api.send("POST", PODS, pod("p3x"))
        assert names == ["p0", "p1", "p2", "p3", "p4"]
        assert token == ""

    with_api(scenario)


def test_dependents_follow_their_owner() -> None:
    async def scenario(api: Api) -> None:
        sets = "/apis/apps/v1/namespaces/default/replicasets"
        template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
        spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}

        async def owned(name: str) -> None:
            owner = await api.ok("POST", sets, {"metadata": {"name": name}, "spec": spec})
            reference = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": owner["metadata"]["uid"]}
            await api.ok("POST", PODS, pod(name, ownerReferences=[{**reference, "blockOwnerDeletion": True}]))

        await owned("background")
        await api.ok("DELETE", f"{sets}/background")
        await api.gone(f"{PODS}/background")
        await owned("foreground")
        held = await api.ok("DELETE", f"{sets}/foreground", {"propagationPolicy": "Foreground"})
        assert held["metadata"]["finalizers"] == ["foregroundDeletion"]
        await api.gone(f"{PODS}/foreground")
        await api.gone(f"{sets}/foreground")
        await owned("orphan")
        await api.ok("DELETE", f"{sets}/orphan", {"propagationPolicy": "Orphan"})
        await api.gone(f"{sets}/orphan")
        assert "ownerReferences" not in (await api.ok("GET", f"{PODS}/orphan"))["metadata"]

    with_api(scenario)


def test_a_namespace_goes_with_what_is_in_it() -> None:
    async def scenario(api: Api) -> None:
        await api.ok("POST", "/api/v1/namespaces", {"metadata": {"name": "tmp"}})
        await api.ok("POST", "/api/v1/namespaces/tmp/pods", pod("a", "n1"))
        await api.ok("POST", "/api/v1/namespaces/tmp/configmaps", {"metadata": {"name": "c"}})
        assert (await api.ok("DELETE", "/api/v1/namespaces/tmp"))["status"]["phase"] == "Terminating"
        await api.gone("/api/v1/namespaces/tmp/configmaps/c")
        code, refused = await api.send("POST", "/api/v1/namespaces/tmp/configmaps", {"metadata": {"name": "d"}})
        assert (code, refused["details"]["causes"][0]["reason"]) == (403, "NamespaceTerminating")
        assert (await api.ok("GET", "/api/v1/namespaces/tmp"))["metadata"][
            "deletionTimestamp"
        ]  # the pod's node is slow
        await api.ok("DELETE", "/api/v1/namespaces/tmp/pods/a", {"gracePeriodSeconds": 0})
        await api.gone("/api/v1/namespaces/tmp")

    with_api(scenario)


def test_a_claim_in_use_waits_for_its_pods() -> None:
    async def scenario(api: Api) -> None:
        claims = "/api/v1/namespaces/default/persistentvolumeclaims"
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        await api.ok("POST", claims, {"metadata": {"name": "data"}, "spec": spec})
        user = pod("a")
        user["spec"]["volumes"] = [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]
        await api.ok("POST", PODS, user)
        await api.ok("DELETE", f"{claims}/data")
        await asyncio.sleep(0.05)
        assert (await api.ok("GET", f"{claims}/data"))["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
        await api.ok("DELETE", f"{PODS}/a")
        await api.gone(f"{claims}/data")

    with_api(scenario)


def test_eviction_asks_the_disruption_budget() -> None:
    async def scenario(api: Api) -> None:
        ready = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
        for name in "ab":
            await api.ok("POST", PODS, pod(name, "n1", labels={"app": "db"}))
            await api.ok("PATCH", f"{PODS}/{name}/status", ready, MERGE)
        budget = {"metadata": {"name": "db"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "db"}}}}
        await api.ok("POST", "/apis/policy/v1/namespaces/default/poddisruptionbudgets", budget)
        await api.ok("POST", f"{PODS}/a/eviction", {"metadata": {"name": "a"}})
        assert (await api.ok("GET", f"{PODS}/a"))["metadata"]["deletionTimestamp"]
        code, refused = await api.send("POST", f"{PODS}/b/eviction", {"metadata": {"name": "b"}})
        assert (code, refused["reason"]) == (429, "TooManyRequests")
        assert "needs 1 healthy pods and has 1 currently" in refused["details"]["causes"][0]["message"]
        assert "deletionTimestamp" not in (await api.ok("GET", f"{PODS}/b"))["metadata"]

    with_api(scenario)


def test_services_get_addresses_of_their_own_and_give_them_back() -> None:
    async def scenario(api: Api) -> None:
        services = "/api/v1/namespaces/default/services"
        made = [
            await api.ok(
                "POST",
                services,
                {"metadata": {"name": f"s{i}"}, "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}},
            )
            for i in range(20)
        ]
        assert len({one["spec"]["clusterIP"] for one in made}) == 20
        assert len({one["spec"]["ports"][0]["nodePort"] for one in made}) == 20
        patch = {"spec": {"clusterIP": "10.96.0.7"}}
        assert (await api.send("PATCH", f"{services}/s0", patch, MERGE))[0] == 422
        headless = {"metadata": {"name": "h"}, "spec": {"clusterIP": "None", "ports": [{"port": 80}]}}
        assert (await api.ok("POST", services, headless))["spec"]["clusterIPs"] == ["None"]

    with_api(scenario)


def test_custom_resources_while_their_definition_exists() -> None:
    async def scenario(api: Api) -> None:
        names = {"kind": "Gadget", "plural": "gadgets", "singular": "gadget", "shortNames": ["gd"]}
        version = {"name": "v1", "served": True, "storage": True, "subresources": {"status": {}}}
        spec = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]}
        crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        await api.ok("POST", crds, {"metadata": {"name": "gadgets.example.com"}, "spec": spec})
        conditions = (await api.ok("GET", f"{crds}/gadgets.example.com"))["status"]["conditions"]
        assert {one["type"]: one["status"] for one in conditions} == {"NamesAccepted": "True", "Established": "True"}
        gadgets = "/apis/example.com/v1/namespaces/default/gadgets"
        made = await api.ok("POST", gadgets, {"metadata": {"name": "g"}, "spec": {"any": [1, {"x": None}]}})
        assert made["kind"] == "Gadget"
        changed = await api.ok("PATCH", f"{gadgets}/g/status", {"status": {"ok": True}, "spec": {"no": 1}}, MERGE)
        assert (changed["status"], changed["spec"]) == ({"ok": True}, {"any": [1, {"x": None}]})
        assert (await api.ok("GET", "/apis/example.com/v1"))["resources"][0]["shortNames"] == ["gd"]
        await api.ok("DELETE", f"{crds}/gadgets.example.com")
        assert (await api.send("GET", f"{gadgets}/g"))[0] == 404

    with_api(scenario)


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
            {"metadata": {"name": "a"}, "spec": {}},
            "spec.group",
        ),
        ("/apis/apps/v1/namespaces/default/deployments", {"metadata": {"name": "a"}}, "spec.selector"),
        ("/api/v1/namespaces/default/services", {"metadata": {"name": "a"}}, "spec.ports"),
        ("/api/v1/persistentvolumes", {"metadata": {"name": "a"}}, "spec.accessModes"),
        ("/api/v1/nodes", {"metadata": {"name": "a"}, "spec": {"taints": [{"key": "k"}]}}, "spec.taints[0].effect"),
        ("/apis/storage.k8s.io/v1/volumeattachments", {"metadata": {"name": "a"}}, "spec.attacher"),
        ("/api/v1/namespaces/default/secrets", {"metadata": {"name": "a"}, "data": {"k": "?"}}, "data[k]"),
        ("/api/v1/namespaces/default/configmaps", {"metadata": {"name": "a", "labels": {"-": "x"}}}, "metadata.labels"),
    ],
)
def test_what_is_missing_or_wrong_is_named(path: str, body: Obj, field: str) -> None:
    async def scenario(api: Api) -> None:
        code, refused = await api.send("POST", path, body)
        assert (code, refused["reason"]) == (422, "Invalid")
        assert field in {cause["field"] for cause in refused["details"]["causes"]}

    with_api(scenario)


def test_both_event_groups_show_the_same_events() -> None:
    async def scenario(api: Api) -> None:
        body = {
            "metadata": {"name": "e"},
            "regarding": {"kind": "Pod", "name": "a", "namespace": "default"},
            "note": "moved",
            "reason": "Fenced",
            "eventTime": "2026-01-01T00:00:00.000000Z",
        }
        await api.ok("POST", "/apis/events.k8s.io/v1/namespaces/default/events", body)
        core = await api.ok("GET", "/api/v1/namespaces/default/events?fieldSelector=involvedObject.name%3Da")
        assert [(one["message"], one["involvedObject"]["name"]) for one in core["items"]] == [("moved", "a")]
        new = await api.ok("GET", "/apis/events.k8s.io/v1/namespaces/default/events/e")
        assert (new["note"], new["kind"], new["apiVersion"]) == ("moved", "Event", "events.k8s.io/v1")

    with_api(scenario)


def test_dry_run_answers_and_stores_nothing() -> None:
    async def scenario(api: Api) -> None:
        await api.ok("POST", f"{PODS}?dryRun=All", pod("a"))
        assert (await api.send("GET", f"{PODS}/a"))[0] == 404
        await api.ok("POST", PODS, pod("a"))
        await api.ok("DELETE", f"{PODS}/a?dryRun=All")
        changed = await api.ok("PATCH", f"{PODS}/a?dryRun=All", {"metadata": {"labels": {"x": "y"}}}, MERGE)
        assert changed["metadata"]["labels"] == {"x": "y"}
        assert "labels" not in (await api.ok("GET", f"{PODS}/a"))["metadata"]

    with_api(scenario)


def test_an_update_that_changes_nothing_is_no_event() -> None:
    async def scenario(api: Api) -> None:
        made = await api.ok("POST", PODS, pod("a"))
        same = await api.ok("PATCH", f"{PODS}/a", {"metadata": {"labels": None}}, MERGE)
        assert same["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]

    with_api(scenario)


def test_unknown_fields_warn_or_fail_as_asked() -> None:
    async def scenario(api: Api) -> None:
        wrong = pod("a")
        wrong["spec"]["contaners"] = []
        code, refused = await api.send("POST", f"{PODS}?fieldValidation=Strict", wrong)
        assert code == 400
        assert 'unknown field "spec.contaners"' in refused["message"]
        async with api.session.post(f"{api.url}{PODS}", json=wrong) as response:
            assert response.status == 201
            assert response.headers["Warning"] == '299 - "unknown field \\"spec.contaners\\""'

    with_api(scenario)


def test_tokens_are_checked_and_the_health_is_open() -> None:
    async def scenario(api: Api) -> None:
        code, refused = await api.send("GET", PODS)
        assert (code, refused["reason"], refused["message"]) == (401, "Unauthorized", "Unauthorized")
        assert (await api.send("GET", PODS, None, Authorization="Bearer wrong"))[0] == 401
        assert (await api.send("GET", PODS, None, Authorization="Bearer good"))[0] == 200
        assert (await api.send("GET", "/readyz"))[0] == 200
        review = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
        _, who = await api.send("POST", review, {"kind": "SelfSubjectReview"}, Authorization="Bearer good")
        assert who["status"]["userInfo"]["username"] == "hamgr"

    tokens = {"good": User("hamgr", ("ha",))}
    with_api(scenario, Settings(authenticator=Authenticator(tokens)))


def test_roles_say_who_may_do_what() -> None:
    rbac = "/apis/rbac.authorization.k8s.io/v1"

    async def scenario(api: Api) -> None:
        async def code(who: str, method: str, path: str, body: Any = None) -> int:
            return (await api.send(method, path, body, Authorization=f"Bearer {who}"))[0]

        rules = [
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "delete"]},
            {"apiGroups": [""], "resources": ["pods/eviction"], "verbs": ["create"], "resourceNames": ["a"]},
        ]
        reader = {"metadata": {"name": "reader"}, "rules": rules}
        binding = {
            "metadata": {"name": "reader"},
            "roleRef": {"kind": "ClusterRole", "name": "reader"},
            "subjects": [{"kind": "ServiceAccount", "name": "hamgr", "namespace": "kube-system"}],
        }
        assert await code("root", "POST", f"{rbac}/clusterroles", reader) == 201
        assert await code("root", "POST", f"{rbac}/namespaces/default/rolebindings", binding) == 201
        assert await code("root", "POST", PODS, pod("a")) == 201
        assert await code("hamgr", "GET", PODS) == 200
        assert await code("hamgr", "GET", "/api/v1/pods") == 403  # the binding is of one namespace
        assert await code("hamgr", "GET", "/api/v1/namespaces/kube-system/pods") == 403
        assert await code("hamgr", "POST", f"{PODS}/a/binding", {"target": {"name": "n1"}}) == 403
        assert await code("hamgr", "POST", f"{PODS}/a/eviction?dryRun=All", {}) == 201
        assert await code("hamgr", "GET", "/apis") == 200
        refused = (await api.send("POST", PODS, pod("b"), Authorization="Bearer hamgr"))[1]
        assert refused["reason"] == "Forbidden"
        assert refused["message"] == (
            'pods is forbidden: User "system:serviceaccount:kube-system:hamgr" cannot create resource "pods" '
            'in API group "" in the namespace "default"'
        )
        assert await code("hamgr", "DELETE", f"{PODS}/a") == 200

    account = User("system:serviceaccount:kube-system:hamgr")
    tokens = {"hamgr": account, "root": User("root", ("system:masters",))}
    with_api(scenario, Settings(authenticator=Authenticator(tokens), authorization=RoleBased))


def test_a_service_account_has_a_token_of_its_own_and_every_request_is_noted(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        admin = {"Authorization": "Bearer root"}
        asked = {"kind": "TokenRequest", "spec": {"expirationSeconds": 600}}
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        code, made = await api.send("POST", f"{account}/token", asked, **admin)
        assert (code, made["kind"]) == (201, "TokenRequest")
        bearer = {"Authorization": f"Bearer {made['status']['token']}"}
        review = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
        _, who = await api.send("POST", review, {"kind": "SelfSubjectReview"}, **bearer)
        assert who["status"]["userInfo"] == {
            "username": "system:serviceaccount:default:default",
            "groups": ["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"],
        }
        assert (await api.send("GET", PODS, None, **bearer))[0] == 403
        forged = {"Authorization": f"{bearer['Authorization'][:-2]}xx"}
        assert (await api.send("GET", PODS, None, **forged))[0] == 401
        assert (await api.send("POST", f"{account}x/token", asked, **admin))[0] == 404
        asked["spec"] = {"expirationSeconds": 1}
        assert (await api.send("POST", f"{account}/token", asked, **admin))[0] == 400

    log = tmp_path / "audit.log"
    tokens = {"root": User("root", ("system:masters",))}
    with_api(scenario, Settings(authenticator=Authenticator(tokens), authorization=RoleBased, audit=log))
    noted = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(each["user"], each["verb"], each["resource"], each["subresource"], each["allowed"]) for each in noted] == [
        ("root", "create", "serviceaccounts", "token", True),
        ("system:serviceaccount:default:default", "list", "pods", "", False),
        ("root", "create", "serviceaccounts", "token", True),
        ("root", "create", "serviceaccounts", "token", True),
    ]


def test_a_token_is_over_in_time() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    account = {"metadata": {"name": "a", "namespace": "b"}}
    token = request_token(b"key", account, {"spec": {"expirationSeconds": 600}}, now)["status"]["token"]
    assert bearer(b"key", token, now + timedelta(seconds=599)) == (
        "system:serviceaccount:b:a",
        ("system:serviceaccounts", "system:serviceaccounts:b"),
    )
    assert bearer(b"key", token, now + timedelta(seconds=600)) is None
    assert bearer(b"other", token, now) is None
    assert bearer(b"key", "nonsense", now) is None


def test_logs_come_from_the_agent_of_the_node() -> None:
    async def agent(request: web.Request) -> web.Response:
        return web.Response(text=f"{request.path} tail={request.query.get('tailLines')}\n")

    async def scenario(api: Api) -> None:
        app = web.Application()
        app.router.add_get("/{path:.*}", agent)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        status = {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        }
        await api.ok("POST", "/api/v1/nodes", {"metadata": {"name": "n1"}, "status": status})
        await api.ok("POST", PODS, pod("a", "n1"))
        await api.ok("POST", PODS, pod("lost", "n2"))
        assert await api.send("GET", f"{PODS}/a/log?tailLines=3") == (200, "/containerLogs/default/a/c tail=3\n")
        code, refused = await api.send("GET", f"{PODS}/a/log?container=zzz")
        assert (code, refused["message"]) == (400, "container zzz is not valid for pod a")
        assert (await api.send("GET", f"{PODS}/lost/log"))[0] == 404
        await runner.cleanup()
        code, refused = await api.send("GET", f"{PODS}/a/log")
        assert code == 500
        assert "does not answer" in refused["message"]

    with_api(scenario)


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/nonsense", 404),
        ("GET", "/apis", 200),
        ("GET", "/apis/apps", 200),
        ("GET", "/apis/nonsense/v1/things", 404),
        ("GET", "/api/v1/pods/a", 404),
        ("GET", f"{PODS}/a/nonsense", 404),
        ("POST", f"{PODS}/a", 405),
        ("PUT", PODS, 405),
        ("POST", PODS, 400),
        ("GET", f"{PODS}?limit=x", 400),
        ("GET", f"{PODS}?continue=x", 400),
        ("GET", f"{PODS}?labelSelector=%3D", 400),
    ],
)
def test_odd_requests_are_answered_not_fatal(method: str, path: str, code: int) -> None:
    async def scenario(api: Api) -> None:
        assert (await api.send(method, path))[0] == code
        assert (await api.send("GET", "/readyz"))[0] == 200

    with_api(scenario)


def test_a_watcher_that_goes_away_leaves_nothing_behind() -> None:
    async def run() -> None:
        server = ApiServer()
        async with running(server) as (url,), aiohttp.ClientSession() as session:
            async with session.get(f"{url}{PODS}?watch=1") as response:
                assert response.status == 200
                assert server.storage.watchers() == 1
                response.close()
            for _ in range(500):
                if not server.storage.watchers():
                    return
                await asyncio.sleep(0.01)
            pytest.fail("the watcher is still there")

    asyncio.run(run())
