"""The `service` agent: sends clients to the one active pod, by the label that the Service selects.

What IPaddr2 is in a classic cluster. A pod is reachable through the Service when it carries ``hamgr.io/role: active``
and is ready; the label is put on one pod at a time, and taken from all others first.
"""

from __future__ import annotations

from typing import ClassVar

from hamgr.executor.agent import ActionContext, ActionResult, Agent
from hamgr.executor.metadata import Action, Metadata, Parameter
from hamgr.executor.ocf import Ocf
from hamgr.kube.errors import AlreadyExists, Forbidden, NotFound
from hamgr.kube.objects import (
    ENDPOINT_SLICE,
    LABEL_ROLE,
    POD,
    ROLE_ACTIVE,
    SERVICE,
    Obj,
    labels_of,
    name_of,
    revision_of,
    uid_of,
)
from hamgr.kube.pods import find, is_ours, is_ready, of_resource
from hamgr.kube.services import (
    Endpoint,
    activate,
    create_service,
    deactivate,
    endpoints,
    endpoints_among,
    selector_for,
    selects,
)
from hamgr_agents.observation import access, ask_for, look_up, settle
from hamgr_agents.pod_template import pod_name

_PATIENCE_S = 5.0


class ServiceAgent(Agent):
    """See the module."""

    metadata: ClassVar[Metadata] = Metadata(
        name="service",
        version="1.0",
        shortdesc="Sends a Service's clients to the active pod",
        longdesc=(
            "Labels the pod of another resource on this node as the active one and waits until the Service's "
            "endpoints show it. The Service must select hamgr.io/role: active."
        ),
        parameters=(
            Parameter("service", "Name of the Service", required=True, unique=True),
            Parameter("resource", "Id of the pod's resource, whose clients the Service brings", required=True),
            Parameter("namespace", "Namespace of the Service and the pod", default="default"),
            Parameter("manage", "Create the Service when it is missing", type="boolean", default="false"),
            Parameter("port", "Port of a Service created here", type="integer", default="3306"),
            Parameter(
                "type",
                "Type of a Service created here",
                type="select",
                default="LoadBalancer",
                choices=("ClusterIP", "NodePort", "LoadBalancer"),
            ),
        ),
        actions=(
            Action("start", timeout_s=30),
            Action("stop", timeout_s=30),
            Action("monitor", timeout_s=20, interval_s=10),
            Action("validate-all", timeout_s=20),
            Action("meta-data", timeout_s=5),
        ),
    )

    def start(self, ctx: ActionContext) -> ActionResult:
        """OK once the Service's endpoints show the pod on this node, and it alone, as ready."""
        return settle(ctx, lambda: self._step_towards_clients(ctx), lambda: self._watched(ctx))

    def _step_towards_clients(self, ctx: ActionContext) -> ActionResult | str:
        via, namespace, name = access(ctx).kube, ctx.text("namespace"), pod_name(ctx.text("resource"), ctx.node)
        pod = find(via, name, namespace)
        if pod is None or not is_ours(pod, ctx.cluster, ctx.text("resource")):
            return ActionResult(Ocf.ERR_GENERIC, f"there is no pod {namespace}/{name} to send clients to")
        try:
            wrong = self._service_problem(ctx, pod)
        except (NotFound, Forbidden) as error:
            return ActionResult(Ocf.ERR_GENERIC, error.message, waiting=True)
        if wrong:
            return ActionResult(Ocf.ERR_CONFIGURED, wrong)
        self._cut_off_others(ctx, uid_of(pod))
        if labels_of(pod).get(LABEL_ROLE) != ROLE_ACTIVE:
            activate(via, name, namespace, uid_of(pod), revision_of(pod))
        if not is_ready(pod):
            return f"pod {name} is labeled as active, but it is not ready"
        shown = endpoints(via, namespace, ctx.text("service"))
        if _shows(shown, uid_of(pod)):
            return ActionResult(Ocf.OK)
        return f"the endpoints of Service {namespace}/{ctx.text('service')} do not show pod {name} as ready yet"

    def _service_problem(self, ctx: ActionContext, pod: Obj) -> str:
        """Why the Service cannot bring clients to the pod; creates it where that is wanted; empty: it can.

        Raises NotFound (there is none), Forbidden (to create it, by a quota, say).
        """
        via, namespace, name = access(ctx).kube, ctx.text("namespace"), ctx.text("service")
        try:
            service = via.get(SERVICE.path(name, namespace))
        except NotFound as error:
            if not ctx.flag("manage"):
                raise NotFound(error.code, error.reason, self._no_service(ctx)) from error
            selector = selector_for(ctx.cluster, ctx.text("resource"))
            try:
                create_service(via, name, namespace, selector, [ctx.number("port") or 0], ctx.text("type"))
            except AlreadyExists:
                pass
            return ""
        if selects(service, {**labels_of(pod), LABEL_ROLE: ROLE_ACTIVE}):
            return ""
        selector = (service.get("spec") or {}).get("selector") or {}
        wanted = ", ".join(f"{k}: {v}" for k, v in selector_for(ctx.cluster, ctx.text("resource")).items())
        return (
            f"Service {namespace}/{name} selects {selector or 'nothing'}, which pod {name_of(pod)} does not match; "
            f"it should select {wanted}"
        )

    def may_start(self, ctx: ActionContext) -> ActionResult:
        """OK: the Service is there, or is to be created."""
        if ctx.flag("manage") or ask_for(ctx, SERVICE, ctx.text("service"), ctx.text("namespace")) is not None:
            return ActionResult(Ocf.OK)
        return ActionResult(Ocf.ERR_GENERIC, self._no_service(ctx), waiting=True)

    def _no_service(self, ctx: ActionContext) -> str:
        return f"Service {ctx.text('namespace')}/{ctx.text('service')} does not exist; create it, or set manage: true"

    def _cut_off_others(self, ctx: ActionContext, uid: str) -> None:
        via = access(ctx).kube
        for pod in of_resource(via, ctx.cluster, ctx.text("resource"), ctx.text("namespace")):
            if uid_of(pod) != uid and LABEL_ROLE in labels_of(pod):
                self._cut_off(ctx, pod)

    def _cut_off(self, ctx: ActionContext, pod: Obj) -> None:
        try:
            deactivate(access(ctx).kube, name_of(pod), ctx.text("namespace"), uid_of(pod), revision_of(pod))
        except NotFound:
            return

    def stop(self, ctx: ActionContext) -> ActionResult:
        """OK once the label is off and the endpoints have dropped the pod.

        Endpoints that lag behind for more than five seconds do not make the stop fail: no data hangs on them, and a
        failed stop would cost the node.
        """
        via, namespace, name = access(ctx).kube, ctx.text("namespace"), pod_name(ctx.text("resource"), ctx.node)
        patience = ctx.clock() + min(_PATIENCE_S, ctx.left_s() / 2)

        def step() -> ActionResult | str:
            pod = find(via, name, namespace)
            if pod is not None and LABEL_ROLE in labels_of(pod) and is_ours(pod, ctx.cluster, ctx.text("resource")):
                self._cut_off(ctx, pod)
            if not any(e.pod == name for e in endpoints(via, namespace, ctx.text("service"))):
                return ActionResult(Ocf.OK)
            why = f"the endpoints of Service {namespace}/{ctx.text('service')} still show pod {name}"
            if ctx.clock() >= patience:
                return ActionResult(Ocf.OK, f"{why}, though it is not labeled as active any more")
            return why

        return settle(ctx, step, lambda: self._watched(ctx), pause_s=0.5)

    def monitor(self, ctx: ActionContext) -> ActionResult:
        """OK: the pod here is the labeled one, and the endpoints show it unless it is not ready just now."""
        namespace, name = ctx.text("namespace"), pod_name(ctx.text("resource"), ctx.node)
        pod = look_up(ctx, POD, name, namespace)
        if not _is_active(pod):
            pod = ask_for(ctx, POD, name, namespace)
        if pod is None or not _is_active(pod):
            return ActionResult(Ocf.NOT_RUNNING, f"pod {name} is not the one that clients are sent to")
        service = (SERVICE, ctx.text("service"), namespace)
        if look_up(ctx, *service) is None and ask_for(ctx, *service) is None:
            return ActionResult(Ocf.NOT_RUNNING, f"Service {namespace}/{ctx.text('service')} does not exist")
        if not is_ready(pod):
            return ActionResult(Ocf.OK, f"pod {name} is not ready, so clients wait")  # its own monitor judges that
        if _shows(self._known_endpoints(ctx), uid_of(pod)):
            return ActionResult(Ocf.OK)
        if _shows(endpoints(access(ctx).kube, namespace, ctx.text("service")), uid_of(pod)):
            return ActionResult(Ocf.OK)
        why = f"pod {name} is ready and active, but not among the endpoints of {namespace}/{ctx.text('service')} yet"
        return ActionResult(Ocf.OK, why)

    def _known_endpoints(self, ctx: ActionContext) -> list[Endpoint]:
        namespace = ctx.text("namespace")
        return endpoints_among(access(ctx).cache.list(ENDPOINT_SLICE, namespace), namespace, ctx.text("service"))

    def _watched(self, ctx: ActionContext) -> object:
        """What moves a waiting start or stop on: the Service's endpoints and the pod."""
        pod = access(ctx).cache.get(POD, pod_name(ctx.text("resource"), ctx.node), ctx.text("namespace"))
        return (tuple(self._known_endpoints(ctx)), pod is not None and is_ready(pod))

    def validate_all(self, ctx: ActionContext) -> ActionResult:
        """Also: the Service exists, or is to be created here."""
        checked = super().validate_all(ctx)
        if checked.rc is not Ocf.OK or ctx.kube is None or ctx.flag("manage"):
            return checked
        namespace, name = ctx.text("namespace"), ctx.text("service")
        try:
            ctx.kube.get(SERVICE.path(name, namespace))
        except NotFound:
            problem = f"Service {namespace}/{name} does not exist; create it, or set manage: true"
            return ActionResult(Ocf.ERR_CONFIGURED, problem)
        return checked


def _is_active(pod: Obj | None) -> bool:
    return pod is not None and labels_of(pod).get(LABEL_ROLE) == ROLE_ACTIVE


def _shows(shown: list[Endpoint], uid: str) -> bool:
    """Whether this pod is a ready endpoint and no other is."""
    ready = {endpoint.pod_uid for endpoint in shown if endpoint.ready}
    return ready == {uid}
