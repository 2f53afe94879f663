"""The desk: what children say on their control channels, who may ask for what, and who hears of the tree.

Here belong authorisation and the translation between channel messages and the policy's words. The policy answers;
sending is the root's.
"""

from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING, Any

from supervisor import policy
from supervisor.channel import visible
from supervisor.errors import TreeError, nearest
from supervisor.process import End, Process
from supervisor.spec import SupervisorSpec

if TYPE_CHECKING:
    from supervisor.root import Root

logger = logging.getLogger("supervisor.root")

INFO_LIMIT = 1 << 16  # bytes of ready(**info)


class Desk:
    """Handles the messages of all children of one root."""

    def __init__(self, root: Root) -> None:
        self.root = root
        self._asked: dict[int, tuple[Process, int]] = {}
        self._number = 0

    def handle(self, process: Process, message: dict[str, Any]) -> None:
        """One message of one child. What makes no sense is answered or ignored, never an error of the root."""
        if "ready" in message:
            self._ready(process, message["ready"])
        elif "planned_exit" in message:
            process.planned = visible(str(message["planned_exit"])[:500])
        elif "request" in message:
            self._request(process, message)

    def _ready(self, process: Process, info: Any) -> None:
        if process.ready:
            return
        if process.handle is None:  # it was faster than the launcher's word that it exists; a running child has a pid
            process.early = {"ready": info}
            return
        process.ready = True
        process.ready_at = time.monotonic()
        size = len(json.dumps(info))
        # It is written with every status; a child must not make that slow for all.
        process.said = info if isinstance(info, dict) and size <= INFO_LIMIT else {"ready": f"{size} bytes of info"}
        self.root.post(policy.Ready(process.action.path, process.action.incarnation))
        self.root.sampler.watch(process)
        starts = self.root.state.starts.get(process.action.path, 1)
        if starts > 1:
            logger.info("%s (pid %d) runs again, restart %d", process.name, process.pid, starts - 1)
        self._announce({"up": process.name, "incarnation": process.action.incarnation}, but=process)
        self.root.changed()

    def down(self, process: Process, end: End) -> None:
        """Tell observers that a process is gone, and forget what it asked. Who raised is told with what: an exit code alone
        says nothing."""
        last = process.output.tail[-1] if process.output.tail else ""
        raised = end.reason == "crash" and end.detail.startswith("exit code") and last
        self._asked = {number: asked for number, asked in self._asked.items() if asked[0] is not process}
        self._announce(
            {
                "down": process.name,
                "incarnation": process.action.incarnation,
                "reason": f"{end.detail}: {last}" if raised else end.detail,
                "planned": end.planned,
            }
        )

    def snapshot(self) -> list[list[Any]]:
        """[[name, incarnation], …] of the processes that are up."""
        return [[p.name, p.action.incarnation] for p in self.root.children.processes.values() if p.ready and not p.lost]

    def _announce(self, message: dict[str, Any], but: Process | None = None) -> None:
        for process in list(self.root.children.observers.values()):
            if process is not but and not process.lost:
                self.root.children.send(process, message)

    # ---- requests ----------------------------------------------------------------------------------------------------

    def _request(self, process: Process, message: dict[str, Any]) -> None:
        number, method, params = message.get("request"), message.get("method"), message.get("params")
        if not isinstance(number, int) or not isinstance(params, dict):
            return
        if method not in policy.METHODS:
            known = nearest(method, policy.METHODS)
            self._refuse(process, number, "error", f"there is no request {method!r}{known}")
            return
        wanted = params.get("supervisor")
        if wanted not in process.spec.control:
            allowed = ", ".join(process.spec.control) or "none"
            detail = f"{process.name} may not control {wanted!r}; its `control` in the tree file says: {allowed}"
            self._refuse(process, number, "forbidden", detail)
            return
        try:
            request = self._translate(method, params)
        except (TreeError, ValueError) as error:
            self._refuse(process, number, "error", str(error))
            return
        self._asked[request.number] = (process, number)
        self.root.post(request)

    def _translate(self, method: Any, params: dict[str, Any]) -> policy.Request:
        self._number += 1
        supervisor = params["supervisor"]
        if method != "start_child":
            id = params.get("id", "")
            if not isinstance(id, str):
                raise ValueError(f"id {id!r} is not a text")
            return policy.Request(self._number, method, supervisor, id)
        from supervisor.treefile import child_spec

        asked = params.get("spec")
        if not isinstance(asked, dict):
            raise ValueError(f"spec {asked!r} is not a mapping; give {{'id': …, 'args': {{…}}}}")
        target = next((live.spec for live in self.root.state.supervisors.values() if live.spec.id == supervisor), None)
        if target is None or not isinstance(target, SupervisorSpec):
            return policy.Request(self._number, method, supervisor, str(asked.get("id", "")))
        if not target.dynamic:
            spec = child_spec(target, asked, self.root.tree)
            return policy.Request(self._number, method, supervisor, spec.id, spec)
        args = asked.get("args", {})
        if not isinstance(args, dict):
            raise ValueError(f"args {args!r} is not a mapping")
        # The arguments may be large and are passed through; only the rest is checked as a tree file would be.
        spec = child_spec(target, {key: value for key, value in asked.items() if key != "args"}, self.root.tree)
        return policy.Request(self._number, method, supervisor, spec.id, args=args)

    def reply(self, reply: policy.Reply) -> None:
        """The policy's answer, sent to the child that asked, if it is still there."""
        process, number = self._asked.pop(reply.number, (None, 0))
        if process is None:
            return
        if reply.code == "ok":
            self.root.children.send(process, {"answer": number, "result": reply.value})
        else:
            self._refuse(process, number, reply.code, reply.detail)

    def _refuse(self, process: Process, number: int, code: str, detail: str) -> None:
        self.root.children.send(process, {"answer": number, "error": code, "detail": detail})
