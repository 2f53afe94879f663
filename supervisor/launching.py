"""The root's dealings with its zygote: starting it, passing on what it says, noticing that it is lost, replacing it.

Here belongs the life of the launcher as seen by the root. The socket and its messages are `launcher`'s; what the loss
means for the tree is the policy's.
"""

from __future__ import annotations

import logging
import os
import resource
import selectors
import signal
import sys
import time
from typing import TYPE_CHECKING

from supervisor import policy
from supervisor.channel import Output
from supervisor.launcher import Broken, Ended, Forked, Launcher, Refused, Serving
from supervisor.spec import Tree
from supervisor.zygote.orphans import children, kill_orphans

if TYPE_CHECKING:
    from supervisor.root import Root

logger = logging.getLogger("supervisor.root")

REPLACEMENTS = 3  # that may be lost while they load the application, until the root gives up
REPORT_LIMIT = 10.0  # seconds between a child's death and the zygote's word about it, until the zygote is held for hung


class Launching:
    """At most one zygote at a time; a lost one is buried, with all it made, before the next is started."""

    def __init__(self, root: Root) -> None:
        self.root = root
        self.launcher: Launcher | None = None
        self.output: Output | None = None
        self._nofile = resource.getrlimit(resource.RLIMIT_NOFILE)[0]  # what children get; the root raises its own
        self._interest = 0  # what the launcher's socket is watched for
        self.tree = root.tree  # what the launcher was made for: it has loaded the modules of that
        self._losing = ""  # why the last one was lost, until the next one serves
        self._replaced = 0  # replacements in a row that were lost before they served
        self._dying: Launcher | None = None  # a lost one that is not gone yet
        self._isolated = False  # the zygote is PID 1 of a PID namespace
        self._strangers = set(children())  # children of the program around us

    @property
    def usable(self) -> Launcher | None:
        """The launcher to start a child with; None from the loss of one until the policy knows of it."""
        return None if self._losing else self.launcher

    def launch(self) -> None:
        """Start a zygote; it is of use when it says Serving."""
        read, write_end = os.pipe()
        self.tree = self.root.tree
        try:
            self.launcher = self.root.make_launcher(self.tree, write_end, self._nofile)
        except OSError as error:
            os.close(read)
            self.root.exit_code, self.root.reason = policy.EXIT_START, f"{sys.executable} cannot be run: {error}"
            return
        finally:
            os.close(write_end)
        self.output = Output(read)
        self.root.selector.register(read, selectors.EVENT_READ, lambda _: self._on_output())
        self._interest = selectors.EVENT_READ
        self.root.selector.register(self.launcher, self._interest, self._on_message)
        self._watch()

    def _watch(self) -> None:
        """Look each second whether the zygote still answers; it may be stopped, or hang in native code."""
        launcher = self.launcher
        if launcher is None:
            return
        now = time.monotonic()
        awake = self.root.awake  # nothing of the time before that counts: the zygote very likely was stopped with us
        why = launcher.hung(now, awake)
        late = [
            p
            for p in self.root.children.processes.values()
            if p.dead and not p.lost and now - max(p.ready_at, awake) > REPORT_LIMIT
        ]
        if not why and late and launcher.serving:
            why = f"did not report the end of {late[0].name}"
        if why:
            self._lose(f"the zygote hangs: {why}")
            return
        self.root.timers.add(now + 1.0, lambda: self._watch() if launcher is self.launcher else None)

    def _on_output(self) -> None:
        output = self.output
        if output is None:
            return
        for line in output.read():
            self.root.on_line("zygote", line)
        if output.ended:
            self.root.selector.unregister(output.fd)

    def _on_message(self, mask: int) -> None:
        launcher = self.launcher
        if launcher is None:
            return
        if mask & selectors.EVENT_WRITE:
            launcher.flush()
        try:
            events = launcher.events()
        except EOFError:
            self._lose("the zygote died")
            return
        for event in events:
            match event:
                case Forked(number=number, handle=handle):
                    if not self.root.spares.forked(number, handle):
                        self.root.children.forked(number, handle)
                case Refused(number=number, reason=reason):
                    process = self.root.children.processes.get(number)
                    if process is not None:
                        process.fault = reason
                        self.root.children.finish(process, None, 0)
                    else:
                        self.root.spares.ended(number, reason)
                case Ended(number=number, status=status, left=left):
                    process = self.root.children.processes.get(number)
                    if process is not None:
                        self.root.children.finish(process, status, left)
                case Serving(level=level, notes=notes, remarks=remarks, isolated=isolated):
                    self.root.level, self.root.level_notes, self._isolated = level, notes, isolated
                    for remark in remarks:
                        logger.warning("zygote: %s", remark)
                    self._serving()
                case Broken(text=text, module=module):
                    # The launcher has shown the traceback on its stderr; once is enough.
                    last = (text.strip().splitlines() or [""])[-1]
                    self.root.exit_code, self.root.reason = (
                        policy.EXIT_START,
                        f"the application could not be loaded: {last}{_needed_by(self.root.tree, module)}",
                    )
                    logger.error("%s", self.root.reason)
        self.root.changed()
        self.write_interest()

    def write_interest(self) -> None:
        """Watch the launcher's socket for room only while something waits to be sent."""
        if self.launcher is not None and self.launcher.fileno() >= 0:
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self.launcher.wants_write else 0)
            if wanted != self._interest:
                self._interest = wanted
                self.root.selector.modify(self.launcher, wanted, self._on_message)

    def _serving(self) -> None:
        self.root.spares.refill()
        if not self.root.booted:
            self.root.booted = True
            self.root.post(policy.Boot())
            return
        # A new zygote after a lost one: only now is the policy told, so that its start timers do not run meanwhile.
        # What it decides about earlier events belongs to the lost one: a child that the new one had already would never
        # be reported gone, and the tree would wait for that for ever.
        self.root.settle()
        self.root.post(policy.LauncherLost(self._losing))
        self._losing, self._replaced = "", 0
        for process in [process for process in self.root.children.processes.values() if process.lost]:
            self.root.children.finish(process, None, 0)

    def _lose(self, why: str) -> None:
        """The zygote is gone or is of no more use: everything it made dies with it, and a new one is started."""
        launcher, self.launcher = self.launcher, None
        if launcher is None:
            return
        logger.error("%s; everything starts again with a new one", why)
        self.root.selector.unregister(launcher)
        if self.output is not None:
            if not self.output.ended:
                for line in self.output.drain():
                    self.root.on_line("zygote", line)
                self.root.selector.unregister(self.output.fd)
            tail = list(self.output.tail)
            self.output.close()
            self.output = None
        else:
            tail = []
        launcher.kill()
        launcher.hang_up()
        if not launcher.serving:
            launcher.close()
            if self._losing and self._replaced < REPLACEMENTS:  # killed while it replaced another
                self._replaced += 1
                self.relaunch()
                return
            self.root.exit_code, self.root.reason = (
                policy.EXIT_START,
                "\n".join([f"{why} while loading the application", *tail]),
            )
            return
        self._losing = why
        self.root.spares.drop()
        for process in list(self.root.children.processes.values()):
            process.lost = True
            if process.handle is None or process.dead:
                process.dead = True
            else:  # where there is no PID namespace a child may outlive its zygote
                self.root.children.signal(process, signal.SIGKILL)
        self._dying = launcher
        self.root.selector.register(launcher.end, selectors.EVENT_READ, lambda _: self._buried())
        self.root.changed()

    def _buried(self) -> None:
        """The lost zygote is gone, and as PID 1 only after everything that it made."""
        if self._dying is not None:
            self.root.selector.unregister(self._dying.end)
            self._dying.close()
            self._dying = None
            self.relaunch()

    def relaunch(self) -> None:
        """Start the new zygote once the last process of the old one is gone."""
        gone = self._dying is None and all(process.dead for process in self.root.children.processes.values())
        if self._losing and self.launcher is None and gone:
            self.hunt()
            self.launch()

    def hunt(self) -> None:
        """Where the zygote is no PID 1, what it has left comes to us as subreaper."""
        if not self._isolated:
            kill_orphans(self._strangers)

    def shut(self) -> None:
        """End the zygote and with it everything; wait for that."""
        launcher, self.launcher = self.launcher, None
        if launcher is not None:
            if launcher.fileno() in self.root.selector.get_map():
                self.root.selector.unregister(launcher)
            for process in self.root.children.processes.values():  # only after an error: else nothing runs by now
                self.root.children.signal(process, signal.SIGKILL)
            self.root.spares.drop()
            launcher.close()
        if self._dying is not None:
            self._dying.close()
        if self.output is not None:
            for line in self.output.drain():
                self.root.on_line("zygote", line)
            self.output.close()
            self.output = None
        self.hunt()


def _needed_by(tree: Tree, module: str) -> str:
    """Whose `start` in the tree file named this module, for people; empty when nothing did."""
    starts = [(path, spec.start) for path, spec in tree.workers()]
    starts += [(path, spec.template.start) for path, spec in tree.supervisors() if spec.template is not None]
    wanted = [f"{path} (start: {start!r})" for path, start in starts if start.partition(":")[0] == module]
    if wanted:
        return f", needed by {wanted[0]}" + (f" and {len(wanted) - 1} more" if wanted[1:] else "")
    return f", needed by preload: {module!r}" if module in tree.preload else ""
