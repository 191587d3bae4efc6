"""What the running agent answers on its admin socket: JSON documents for the commands."""

from __future__ import annotations

import os
import resource
from typing import Any

from l7proxy import __version__
from l7proxy.agent.httpd import Answer, Question, Stream, error_answer, json_answer
from l7proxy.agent.node import Node
from l7proxy.explain import Question as Asked
from l7proxy.explain import QuestionError, Surroundings, explain
from l7proxy.observe.flows import timestamp
from l7proxy.policy.model import PolicySet
from l7proxy.proxy.ports import Endpoint
from l7proxy.reasons import Reason
from l7proxy.workloads.model import Workload

Json = dict[str, Any]


class Admin:
    """``answer`` is the handler for the admin socket. ``metrics`` is where Prometheus may ask."""

    def __init__(self, node: Node, metrics: Endpoint | None) -> None:
        self._node = node
        self._metrics = metrics

    async def answer(self, question: Question) -> Answer | Stream:
        """GET /status, /workloads, /policies, /flows; POST /explain."""
        match question.method, question.path:
            case "GET", "/status":
                return json_answer(await self._status())
            case "GET", "/workloads":
                return json_answer(self._workloads())
            case "GET", "/policies":
                return json_answer(self._policies())
            case "GET", "/flows":
                return self._node.flows.answer(question.query)
            case "POST", "/explain":
                return self._explain(question.body)
            case _, "/status" | "/workloads" | "/policies" | "/flows" | "/explain":
                return error_answer(405, f"{question.path} does not know {question.method}")
            case _:
                return error_answer(404, f"{question.path} is nothing that can be asked")

    async def _status(self) -> Json:
        node = self._node
        snapshot = node.snapshot
        last = node.report.last_error
        datapath = await node.datapath_status()
        facts = await node.facts()
        workers = node.pool.status()
        return {
            "version": __version__,
            "node": node.config.node,
            "pid": os.getpid(),
            "state": "ready" if node.ready else "not ready",
            "started": _when(node.started_at),
            "datapath": {"mode": node.mode, "reason": node.why, **datapath},
            "policy": {
                "revision": facts.revision,
                "applied": _when(node.applied_at) if node.applied_at else None,
                "policies": 0 if snapshot is None else len(snapshot.policies.policies),
                "rules": 0 if snapshot is None else snapshot.policies.rule_count,
                "digest": None if snapshot is None else snapshot.policies.digest,
            },
            "workloads": 0 if snapshot is None else len(snapshot.workloads),
            "roads": node.roads(facts),
            "workers": [
                {
                    "slot": worker.slot,
                    "pid": worker.pid,
                    "ready": worker.ready,
                    "restarts": worker.restarts,
                }
                for worker in workers
            ],
            "limits": {
                "connections": node.config.limits.connections,
                "open_files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            },
            "listeners": node.listener_addresses(),
            "metrics": None if self._metrics is None else str(self._metrics),
            "errors": list(node.inputs.errors),
            "last_error": None if last is None else {"at": _when(last.at), "message": last.message},
        }

    def _workloads(self) -> Json:
        snapshot = self._node.snapshot
        found = () if snapshot is None else snapshot.workloads
        return {"workloads": [_workload_json(each) for each in found]}

    def _policies(self) -> Json:
        snapshot = self._node.snapshot
        found = () if snapshot is None else snapshot.policies.policies
        return {
            "revision": 0 if snapshot is None else snapshot.revision,
            "errors": list(self._node.inputs.errors),
            "policies": [
                {
                    "name": policy.name,
                    "namespace": policy.namespace,
                    "kind": policy.kind,
                    "rules": PolicySet((policy,)).rule_count,
                    "audit": policy.audited,
                    "source": str(policy.source),
                }
                for policy in found
            ],
        }

    def _explain(self, body: bytes) -> Answer:
        node, snapshot = self._node, self._node.snapshot
        if snapshot is None:
            return error_answer(503, Reason.NOT_READY.meaning)
        around = Surroundings(
            snapshot.policies,
            snapshot.workloads,
            node.config.limits,
            node=node.config.node,
            userspace=node.mode == "userspace",
            kernel_road=node.kernel_road,
            no_room=node.no_room,
        )
        try:
            return json_answer(explain(Asked.from_json(body), around).to_json())
        except QuestionError as error:
            return error_answer(400, str(error))


def _workload_json(workload: Workload) -> Json:
    return {
        "namespace": workload.namespace,
        "name": workload.name,
        "labels": dict(workload.labels),
        "addresses": [str(address) for address in workload.addresses],
        "netns": workload.netns,
        "cgroup": workload.cgroup,
        "node": workload.node,
    }


def _when(seconds: float) -> str:
    return timestamp(seconds)[:19] + "Z"
