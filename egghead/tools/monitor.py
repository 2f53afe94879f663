"""The reference monitor: every tool call of every agent passes here, and nowhere else.

For each call it reads the caller's grants anew, resolves the concrete input to requests, checks all of them, and only
then lets the tool act. When the grants cannot be read, nothing is allowed. What a read gave is given again for a while
(`egghead.tools.reads`), behind the same gate. It knows no bus: it is given a way to ask `store` and `index`, and it gives
back what was decided.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from egghead.agents.decisions import in_force
from egghead.agents.record import authority_of, builtin_records, grants_of, record_ids
from egghead.capabilities.denials import Denial, deny, deny_unknown_tool, deny_unreadable
from egghead.capabilities.match import Authority, Request, could, inert_reason
from egghead.capabilities.offered import offered as provider_tools
from egghead.capabilities.offered import serves
from egghead.tools.notes import TOOLS
from egghead.tools.ports import Ask, Refusal, Unavailable
from egghead.tools.reads import Reads, question
from egghead.tools.registry import BadArguments, Tool, Work
from egghead.tools.results import Output, capped

logger = logging.getLogger("egghead.tools")


class Denied(Exception):
    """A call that may not be made."""

    def __init__(self, denial: Denial) -> None:
        super().__init__(denial.text)
        self.denial = denial


@dataclass(frozen=True)
class Result:
    """What a call came to. `denial` is set when and only when the outcome is `denied`."""

    outcome: str
    content: str
    summary: str
    records: tuple[str, ...] = ()
    denial: Denial | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "outcome": self.outcome,
            "content": self.content,
            "summary": self.summary,
            "records": list(self.records),
        }


class Monitor:
    """The two gates, for any agent. Holds nothing about an agent between calls: a revoked grant is gone at once."""

    def __init__(
        self,
        ask: Ask,
        tools: Mapping[str, Tool] = TOOLS,
        hold: bool = False,
        reads: Reads | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`hold`: grants of medium and high risk count only when the roster has them as approved (`review_grants`).
        `reads`: answers to give again; whoever gives them here forgets them when a note changes. None: none are kept."""
        self.ask = ask
        self.tools = dict(tools)
        self.hold = hold
        self.reads = reads
        self.clock = clock

    async def record_of(self, agent: str) -> Mapping[str, Any]:
        """The record that defines an agent now, a built-in when no record does. Raises Denied: fail closed."""
        for id in record_ids(agent):
            try:
                record = await self.ask("store", "get", id=id)
            except Refusal as refusal:
                if refusal.type in ("NotFound", "InvalidId"):
                    continue
                raise Denied(deny_unreadable(agent, refusal.message)) from None
            except Unavailable as gone:
                raise Denied(deny_unreadable(agent, str(gone))) from None
            if record.get("class") == "agent":
                if record.get("error"):
                    raise Denied(deny_unreadable(agent, f"its record {id!r} is broken: {record['error']}"))
                return dict(record)
            if record.get("error"):  # it may have been meant to narrow the agent; what it says nobody knows
                raise Denied(deny_unreadable(agent, f"its record {id!r} is broken: {record['error']}"))
        builtin = builtin_records().get(agent)
        if builtin is None:
            raise Denied(deny_unreadable(agent, "it has no record any more"))
        return builtin

    async def authority(self, agent: str) -> Authority:
        """What the agent holds at this moment. Raises Denied."""
        found = authority_of(await self.record_of(agent))
        return await self._approved(Authority(agent, found.grants, found.sandbox))

    async def _approved(self, authority: Authority) -> Authority:
        """What of it counts. Raises Denied when nobody can say: fail closed."""
        if not self.hold:
            return authority
        try:
            return in_force(authority, await self.ask("roster", "approved", agent=authority.agent))
        except (Refusal, Unavailable) as gone:
            raise Denied(deny_unreadable(authority.agent, f"which grants are approved is not known: {gone}")) from None

    async def menu(self, agent: str) -> dict[str, Any]:
        """The tools of which some input could pass, and why others cannot be used. Raises Denied."""
        record = await self.record_of(agent)
        authority = await self._approved(authority_of(record))
        grants, problems = grants_of(record)
        offered = [tool.to_dict() for tool in self.tools.values() if _offered(tool, authority)]
        notes = [
            f"{grant}: {reason}"
            for grant in grants
            if (reason := inert_reason(grant, authority.sandbox)) is not None and not serves(grant, authority.sandbox)
        ]
        theirs = [tool.to_dict() for tool in provider_tools(authority)]
        return {"tools": offered, "provider_tools": theirs, "notes": [*notes, *problems]}

    async def provider_tools(self, agent: str) -> list[dict[str, object]]:
        """The tools of a model's provider that the agent may use at this moment, each with its scope. Raises Denied."""
        return [tool.to_dict() for tool in provider_tools(await self.authority(agent))]

    async def run(self, agent: str, name: str, arguments: Any, room: str = "") -> Result:
        """One call, made in `room`. Never raises for what agents, notes or processes do."""
        try:
            return await self._run(await self.authority(agent), name, arguments, room)
        except Denied as denied:
            return _denied(denied.denial)
        except BadArguments as error:
            return _error(f"{error}")
        except Refusal as refusal:
            return _error(f"{refusal.type}: {refusal.message}")
        except Unavailable as gone:
            read_only = name in self.tools and self.tools[name].read_only
            unsure = (
                "" if read_only or not gone.sent else " Whether it took effect is unknown: look before you repeat it."
            )
            return _error(f"{gone}.{unsure}")

    async def _run(self, authority: Authority, name: str, arguments: Any, room: str) -> Result:
        tool = self.tools.get(name)
        if tool is None:
            offered = [other.name for other in self.tools.values() if _offered(other, authority)]
            raise Denied(deny_unknown_tool(authority.agent, name, offered))
        if not _offered(tool, authority):
            # Before anything is looked up: an agent without the verb learns nothing about what exists.
            denial = deny(authority, Request.of(tool.verbs[0]))
            raise Denied(denial or deny_unknown_tool(authority.agent, name, ()))
        given = tool.parse(arguments)
        output = await (self._again if _repeatable(tool) else self._act)(authority, tool, given, room)
        return Result("ok", output.content, output.summary, output.records)

    async def _again(self, authority: Authority, tool: Tool, given: Mapping[str, Any], room: str) -> Output:
        """A read: what it gave a moment ago under the same grants, while no note has changed. Denials are not kept."""
        if self.reads is None:
            return await self._carried_out(authority, tool, given)
        key, now, mark = question(room, authority, tool.name, given), self.clock(), self.reads.mark
        kept = self.reads.get(key, now)
        if kept is not None:
            return kept
        output = await self._carried_out(authority, tool, given)
        self.reads.put(key, output, now, mark)
        return output

    async def _act(self, authority: Authority, tool: Tool, given: Mapping[str, Any], room: str) -> Output:
        """What may change something, whatever comes of it. Forgotten before and after: what is read meanwhile is of
        neither side, and who is refused because a note has changed reads that note anew."""
        self._forget()
        try:
            return await self._carried_out(authority, tool, given)
        finally:
            self._forget()

    def _forget(self) -> None:
        if self.reads is not None:
            self.reads.forget()

    async def _carried_out(self, authority: Authority, tool: Tool, given: Mapping[str, Any]) -> Output:
        """Plan, ask the gate about all that it needs, do it. Raises Denied."""
        plan = await tool.plan(Work(authority, self.ask), **given)
        for request in plan.requests:
            denial = deny(authority, request)
            if denial is not None:
                raise Denied(denial)
        if plan.denial is not None:
            raise Denied(plan.denial)
        output = await plan.execute()
        hint = "read the rest by section, lines or characters" if tool.read_only else ""
        return Output(capped(output.content, hint=hint), output.summary, output.records)


def _repeatable(tool: Tool) -> bool:
    """Whether an answer can be given again: only of the notes is it told when they change."""
    return tool.read_only and all(verb == "records.read" for verb in tool.verbs)


def _offered(tool: Tool, authority: Authority) -> bool:
    return any(could(authority, verb) for verb in tool.verbs)


def _denied(denial: Denial) -> Result:
    logger.info("denied agent=%s code=%s %s", denial.agent, denial.code, denial.text)
    return Result("denied", str(denial), denial.text, denial=denial)


def _error(text: str) -> Result:
    content = capped(text)
    return Result("error", content, content.partition("\n")[0][:200])
