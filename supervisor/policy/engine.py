"""The machine of the policy: what each event does to a tree of supervisors. Pure: same state, event and now, same answer.

A supervisor is a gen_server of OTP without the process: a mailbox, and at most one job (a dynamic one: one job for
each child, so that starts do not block one another). A job stops some children, then starts some, waiting for the
shell's report after each. While a supervisor is busy its messages wait and other supervisors go on.

Law: `decide` is total. A report about a life that is over, a timer no longer wanted, and anything after `Exit` change
nothing. `table` says for every state and event what it does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from supervisor.policy import reload as reloading
from supervisor.policy import restart as restarting
from supervisor.policy import rules as rules
from supervisor.policy import whole as whole
from supervisor.policy.events import (
    EXIT_START,
    EXIT_STOPPED,
    Action,
    Boot,
    Event,
    Exit,
    Exited,
    ExitReason,
    LauncherLost,
    Note,
    Ready,
    Reload,
    Reloaded,
    Reply,
    Request,
    Start,
    StartFailed,
    Stop,
    Stopped,
    StopTree,
    SupervisorExit,
    Timer,
)
from supervisor.policy.requests import answer, receive
from supervisor.policy.state import (
    Child,
    ChildExit,
    Job,
    Message,
    Renew,
    Revise,
    Shutdown,
    State,
    Status,
    Supervisor,
    TryAgain,
    fresh_child,
)
from supervisor.policy.table import PHASES, REPORTS, TRIED_AGAIN, EventKind, ReportKind
from supervisor.policy.working import Report, Working
from supervisor.spec import ChildSpec, SupervisorSpec

EVENT_KIND: Mapping[type[Event], EventKind] = {
    Boot: "boot",
    Ready: "report",
    StartFailed: "report",
    Exited: "report",
    Stopped: "report",
    Request: "request",
    Timer: "timer",
    StopTree: "stop",
    LauncherLost: "launcher lost",
    Reload: "reload",
}


def decide(state: State, event: Event, now: float) -> tuple[State, tuple[Action, ...]]:
    """What happens next. `now`: monotonic seconds; must not decrease. Never raises for an event of these types."""
    return decide_all(state, (event,), now)


def decide_all(state: State, events: Sequence[Event], now: float) -> tuple[State, tuple[Action, ...]]:
    """As `decide`, for events that came together: every one is in its mailbox before any supervisor acts on the first.

    It matters when a parent and a supervisor below it both lose a child: the one below deals with its own loss before
    the parent's shutdown, which came later, as in OTP.
    """
    if state.phase == "done":
        return state, tuple(refusal for event in events for refusal in _refused(event))
    machine = Machine(state, now)
    for event in events:
        machine.take(event)
    machine.run()
    return machine.result(), tuple(machine.actions)


def _refused(event: Event) -> tuple[Action, ...]:
    """What is said to an event when the tree has ended: whoever asked something gets an answer."""
    if isinstance(event, Request):
        return (Reply(event.number, "error", detail="the tree has ended"),)
    return (Reloaded(False, "refused: the tree has ended"),) if isinstance(event, Reload) else ()


class Machine(Working):
    """What each event does to a working copy of the state. Lives for one `decide`."""

    # ---- the loop ----------------------------------------------------------------------------------------------

    def take(self, event: Event) -> None:
        if PHASES[self.phase][EVENT_KIND[type(event)]] == "ignored":
            if isinstance(event, Timer):
                self.timers.pop(event.id, None)  # it has come: nobody can cancel it any more
            return
        match event:
            case Boot():
                self.phase = "up"
                self.open("", self.tree.root, self.tree.root.id, 0)
            case Ready(path, incarnation):
                self.hear(path, incarnation, "ready")
            case StartFailed(path, incarnation, reason):
                self.hear(path, incarnation, "start_failed", detail=reason)
            case Exited(path, incarnation, exit_reason, planned, detail):
                self.hear(path, incarnation, "exited", exit_reason, planned, detail)
            case Stopped(path, incarnation, step):
                self.hear(path, incarnation, "stopped", detail=step)
            case Request():
                receive(self, event)
            case Timer(id):
                self.timer(id)
            case StopTree(reason, at_once):
                whole.stop_tree(self, reason, at_once)
            case LauncherLost(reason):
                whole.launcher_lost(self, reason)
            case Reload(tree):
                reloading.reload(self, tree)

    def run(self) -> None:
        """Until nothing moves without the shell. Mailboxes first: OTP's supervisor goes on before its parent wakes."""
        while self.reports or self.awake:
            if self.awake:
                self.turn(self.awake.popleft())
            else:
                self.report(self.reports.popleft())

    def turn(self, path: str) -> None:
        """Let one supervisor handle the first message that it is free for."""
        supervisor = self.supervisors.get(path)
        if supervisor is None or not supervisor.mailbox or self.phase != "up":
            return  # a tree that stops or has lost its launcher starts nothing: what waits is answered when it ends
        if supervisor.exiting:
            return  # so it is in one supervisor that ends, whatever the message
        blocked: set[str] = set()
        for position, message in enumerate(supervisor.mailbox):
            if isinstance(message, Revise) and supervisor.renewing:
                continue  # one reload after the other
            lane = self.lane(supervisor, message)
            if lane is not None and (lane in supervisor.jobs or lane in blocked):
                blocked.add(lane)
                continue
            self.put(supervisor._replace(mailbox=supervisor.mailbox[:position] + supervisor.mailbox[position + 1 :]))
            self.awake.append(path)
            self.handle(path, message)
            return

    def lane(self, supervisor: Supervisor, message: Message) -> str | None:
        """The lane a message has to wait for; None: it never waits (a dynamic supervisor's own affairs)."""
        if not supervisor.spec.dynamic:
            return ""
        if isinstance(message, Shutdown | Revise):
            return None
        if isinstance(message, Request) and message.method in ("which_children", "count_children"):
            return None
        if isinstance(message, Request) and message.spec is not None and not message.id:
            return message.spec.id
        return message.id

    def handle(self, path: str, message: Message) -> None:
        match message:
            case ChildExit():
                restarting.child_exit(self, path, message)
            case TryAgain(id, counted):
                child = self.supervisors[path].children.get(id)
                if child is not None and TRIED_AGAIN[child.status]:
                    restarting.restart(self, path, id, counted=counted, delay=0.0)
            case Shutdown(reason):
                self.begin_exit(path, reason, "shutdown")
            case Revise(spec):
                reloading.revise(self, path, spec)
            case Renew(id, incarnation):
                reloading.renew_child(self, path, id, incarnation)
            case Request():
                answer(self, path, message)

    # ---- reports -----------------------------------------------------------------------------------------------

    def hear(
        self,
        path: str,
        incarnation: int,
        kind: ReportKind,
        reason: ExitReason = "crash",
        planned: bool = False,
        detail: str = "",
    ) -> None:
        """A report of the shell. Ids of dynamic children may contain `/`, so the longest supervisor path wins."""
        owner = path
        while "/" in owner:
            owner = owner.rpartition("/")[0]
            if owner in self.supervisors:
                self.report(Report(owner, path[len(owner) + 1 :], incarnation, kind, reason, planned, detail))
                return

    def report(self, report: Report) -> None:
        supervisor = self.supervisors.get(report.supervisor)
        child = supervisor.children.get(report.id) if supervisor is not None else None
        if child is None or child.incarnation != report.incarnation or child.gone:
            return
        outcome = REPORTS[child.status][report.kind]
        if outcome == "ignored":
            return
        if PHASES[self.phase]["report"] == "collect":
            if outcome != "started":
                self.disarm(child)
                self.set_child(report.supervisor, child._replace(gone=True, timer="", reason=report.detail))
                whole.rebuild_when_empty(self)
            return
        path, id = report.supervisor, report.id
        if outcome == "started" and child.reason:
            return  # too late: its start is being given up, and it is killed
        if outcome == "started":
            self.disarm(child)
            self.set_child(path, child._replace(status="running", timer="", reason="", up_since=self.now))
            self.awaited(path, id)
        elif outcome == "failed":
            self.start_failed(path, id, child.reason or report.detail or "ended before it was ready")
        elif outcome == "died":
            self.set_child(path, child._replace(gone=True))
            self.post(path, ChildExit(id, report.incarnation, report.reason, report.planned, report.detail))
            self.awaited(path, id)  # a supervisor that a reload waited for
        else:
            self.disarm(child)
            self.set_child(path, child._replace(gone=True, timer=""))
            self.awaited(path, id, stopped=True)

    def awaited(self, path: str, id: str, *, stopped: bool = False) -> None:
        """The child that a job waited for is there, or gone."""
        lane = self.job_lane(path, id)
        job = self.supervisors[path].jobs.get(lane)
        if job is None or id not in job.waiting:
            return
        if stopped:
            self.after_stop(path, id, job)
        place = job.waiting.index(id)
        self.set_job(path, lane, job._replace(waiting=job.waiting[:place] + job.waiting[place + 1 :]))
        self.advance(path, lane)

    # ---- jobs --------------------------------------------------------------------------------------------------

    def begin(self, path: str, lane: str, job: Job) -> None:
        self.set_job(path, lane, job)
        self.advance(path, lane)

    def advance(self, path: str, lane: str) -> None:
        """Do as much of a job as can be done without another report."""
        while True:
            supervisor = self.supervisors.get(path)
            job = supervisor.jobs.get(lane) if supervisor is not None else None
            if supervisor is None or job is None or (job.waiting and not (job.stops and self.at_once(supervisor, job))):
                return
            if job.stops:
                id, stops = job.stops[0], job.stops[1:]
                if reloading.pause(self, path, id) if id in job.change.kept else self.begin_stop(path, id):
                    self.set_job(path, lane, job._replace(stops=stops, waiting=(*job.waiting, id)))
                else:
                    self.after_stop(path, id, job)
                    self.set_job(path, lane, job._replace(stops=stops))
            elif job.held:
                self.awaited(supervisor.parent, supervisor.spec.id)  # our turn to start comes later
                return
            elif job.starts and self.phase == "stopping":
                self.set_job(path, lane, None)  # its supervisor will be told to end, in its turn
                self.unserved(job.request, "the tree is stopping")
                return
            elif job.starts and not job.delay:
                id, starts = job.starts[0], job.starts[1:]
                there = id in supervisor.children  # a temporary child of the group is gone by now
                self.set_job(path, lane, job._replace(starts=starts, waiting=(id,) if there else ()))
                if not there:
                    continue
                if job.kind != "reload":
                    self.begin_start(path, id)
                    return
                if reloading.resume(self, path, id, job):
                    return
                self.set_job(path, lane, job._replace(starts=starts, waiting=()))
            else:
                self.complete(path, lane, job)
                return

    def at_once(self, supervisor: Supervisor, job: Job) -> bool:
        """A dynamic supervisor that ends stops its children all at the same time, as OTP does."""
        return supervisor.spec.dynamic and job.kind == "exit"

    def complete(self, path: str, lane: str, job: Job) -> None:
        if job.kind == "exit":
            self.closed(path, job)
            return
        if job.kind == "boot":
            supervisor = self.supervisors[path]._replace(started=True)
            self.put(supervisor)
            if supervisor.parent:
                self.reports.append(Report(supervisor.parent, supervisor.spec.id, supervisor.incarnation, "ready"))
        elif job.delay:
            self.hold_back(path, job.id, "retry", job.delay)
        self.set_job(path, lane, None)
        self.reply(job.request, "ok")
        if job.kind in ("reload", "renew"):
            reloading.finished(self, path, job)

    def after_stop(self, path: str, id: str, job: Job) -> None:
        """What remains of a child once it is stopped depends on what it was stopped for."""
        if id in job.change.kept:
            return  # it was not stopped itself
        child = self.child(path, id)
        status: Status = "parked" if job.kind == "park" else "terminated"
        if job.kind in ("reload", "renew"):
            forget = id in job.change.drops
        else:
            forget = child.temporary or (job.kind == "terminate_child" and self.supervisors[path].spec.dynamic)
        if forget and job.kind not in ("park", "exit"):
            self.drop_child(path, id)
        else:
            self.disarm(child)
            self.set_child(path, child._replace(status=status, gone=False, timer="", reason=job.reason))

    # ---- starting ----------------------------------------------------------------------------------------------

    def open(self, parent: str, spec: SupervisorSpec, path: str, incarnation: int) -> None:
        """A supervisor begins: its children are those of its spec, whatever an earlier life of it had."""
        children = {} if spec.dynamic else {child.id: fresh_child(spec, path, child) for child in spec.children}
        self.copied.add(path)
        self.put(Supervisor(path, parent, spec, children, incarnation=incarnation))
        if not parent:
            self.starts[path] = self.starts.get(path, 0) + 1
        self.begin(path, "", Job("boot", starts=tuple(children)))

    def begin_start(self, path: str, id: str) -> None:
        child = self.child(path, id)
        self.disarm(child)
        self.starts[child.path] = self.starts.get(child.path, 0) + 1
        child = child._replace(status="starting", gone=False, reason="", timer="", unstarted=False)
        if isinstance(child.spec, ChildSpec):
            incarnation = self.next_incarnation
            self.next_incarnation += 1
            self.set_child(path, child._replace(incarnation=incarnation))
            self.actions.append(Start(child.path, child.name, incarnation, child.spec, path))
            self.arm(path, id, "start", child.spec.start_timeout)
        else:
            self.serial += 1
            self.set_child(path, child._replace(incarnation=self.serial))
            self.open(path, child.spec, child.path, self.serial)

    def start_failed(self, path: str, id: str, reason: str) -> None:
        child = self.child(path, id)
        self.disarm(child)
        child = child._replace(status="terminated", gone=False, timer="", reason=reason, unstarted=True)
        self.set_child(path, child)
        self.actions.append(Note(child.path, f"did not start: {reason}"))
        lane = self.job_lane(path, id)
        job = self.supervisors[path].jobs[lane]
        if job.kind in ("start_child", "restart_child"):
            self.request_failed(path, lane, job, child)
        elif job.kind in ("reload", "renew"):
            reloading.not_started(self, path, lane, job, child)
        elif child.spec.optional:
            if child.temporary:
                self.drop_child(path, id)
            self.set_job(path, lane, job._replace(waiting=()))
            self.advance(path, lane)
        elif job.kind == "boot":
            self.begin_exit(path, f"child {id!r} did not start: {reason}", "crash", code=EXIT_START)
        else:
            # Under one_for_one the next attempt is about this child alone; a lost launcher left others to start too.
            rest = job.kind == "group" and self.supervisors[path].spec.strategy == "one_for_one"
            self.set_job(path, lane, job._replace(waiting=()) if rest else None)
            delay, row = rules.backoff_delay(child, self.now, started=False)
            self.set_child(path, child._replace(row=row))
            self.hold_back(path, id, "again", delay)
            self.advance(path, lane)

    def request_failed(self, path: str, lane: str, job: Job, child: Child) -> None:
        """A start that somebody asked for failed: they are told, and nothing is tried again."""
        if job.kind == "start_child":
            self.drop_child(path, child.spec.id)
        elif job.reason == "unpark":
            self.set_child(path, child._replace(status="parked"))
        self.set_job(path, lane, None)
        self.reply(job.request, "error", detail=child.reason)

    def hold_back(self, path: str, id: str, purpose: Literal["retry", "again"], delay: float) -> None:
        """The child is to be started later: after the messages that are already waiting, or after its backoff."""
        self.set_child(path, self.child(path, id)._replace(status="restarting", gone=False))
        if delay:
            self.arm(path, id, purpose, delay)
        else:
            self.post(path, TryAgain(id, counted=purpose == "again"))

    # ---- stopping ----------------------------------------------------------------------------------------------

    def begin_stop(self, path: str, id: str) -> bool:
        """Have a child stopped. False when there is nothing to wait for."""
        child = self.child(path, id)
        if not child.alive:
            return False
        if child.status == "stopping":
            return True
        self.disarm(child)
        self.set_child(path, child._replace(status="stopping", timer=""))
        if isinstance(child.spec, ChildSpec):
            self.actions.append(Stop(child.path, child.name, child.incarnation, child.spec.shutdown))
            return True
        if child.path not in self.supervisors:
            return True  # it has just ended by itself; its report is on the way
        if child.spec.shutdown == "brutal_kill":
            whole.kill_below(self, child.path, "killed")
            return True
        if child.spec.shutdown != "infinity":
            self.arm(path, id, "kill", float(child.spec.shutdown))
        if self.phase == "stopping":
            self.begin_exit(child.path, "shutdown", "shutdown")
        else:
            self.post(child.path, Shutdown())
        return True

    def begin_exit(
        self, path: str, reason: str, exit_reason: ExitReason, *, own: bool = False, code: int = EXIT_STOPPED
    ) -> None:
        """A supervisor ends: whatever it was doing is given up, and its children are stopped in reverse order."""
        supervisor = self.supervisors[path]
        if supervisor.exiting:
            return
        for job in supervisor.jobs.values():
            self.unserved(job.request, f"supervisor {supervisor.spec.id!r} is ending")
        waiting = tuple(id for id, child in supervisor.children.items() if child.status == "stopping" and child.alive)
        awaited = set(waiting)
        stops = tuple(id for id in reversed(tuple(supervisor.children)) if id not in awaited)
        job = Job("exit", stops, (), waiting, None, "", reason, exit_reason, own, code=code)
        self.put(supervisor._replace(jobs={"": job}))
        self.advance(path, "")

    def closed(self, path: str, job: Job) -> None:
        """Nothing is left below a supervisor: its parent hears of it; the root leaves."""
        if not self.supervisors[path].parent:
            reloading.abandon(self, f"the tree has ended: {job.reason}")
        supervisor = self.supervisors.pop(path)
        self.copied.discard(path)
        for child in supervisor.children.values():
            self.disarm(child)
            if supervisor.spec.dynamic:
                self.starts.pop(child.path, None)
        for message in supervisor.mailbox:
            if isinstance(message, Request):
                self.unserved(message.number, f"supervisor {supervisor.spec.id!r} ended")
        if job.own:
            self.actions.append(SupervisorExit(path, job.reason))
        if not supervisor.parent:
            self.phase, self.reason = "done", job.reason
            self.actions.append(Exit(job.code, job.reason))
            return
        kind: ReportKind = "exited" if supervisor.started else "start_failed"
        self.reports.append(
            Report(
                supervisor.parent, supervisor.spec.id, supervisor.incarnation, kind, job.exit_reason, detail=job.reason
            )
        )

    # ---- timers ------------------------------------------------------------------------------------------------

    def timer(self, id: str) -> None:
        target = self.timers.pop(id, None)
        if target is None or target.supervisor not in self.supervisors:
            return
        child = self.supervisors[target.supervisor].children.get(target.id)
        if child is None or child.timer != id:
            return
        child = child._replace(timer="")
        if target.purpose == "start" and isinstance(child.spec, ChildSpec):
            child = child._replace(reason=f"not ready within {child.spec.start_timeout:g} s")
            self.actions.append(Stop(child.path, child.name, child.incarnation, "brutal_kill"))
        self.set_child(target.supervisor, child)
        if target.purpose in ("retry", "again"):
            self.post(target.supervisor, TryAgain(target.id, counted=target.purpose == "again"))
        elif target.purpose == "kill":
            whole.kill_below(self, child.path, "killed")
