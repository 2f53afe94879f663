"""Reloads as the root sees them: one at a time, the file read through a callback, every refusal in the log.

Here belong what can be known before the policy is asked (faults in the file, modules that no child could load) and
what people are told. What a reload touches is the policy's business.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from supervisor import policy
from supervisor.errors import SupervisorError, TreeError
from supervisor.spec import Tree
from supervisor.zygote.launcher import modules_of

if TYPE_CHECKING:
    from supervisor.root import Root

logger = logging.getLogger("supervisor.root")


class Reloads:
    """Takes requests to reload; `last` is the result of the last one, as status shows it."""

    def __init__(self, root: Root, source: Callable[[], Tree] | None) -> None:
        self.root = root
        self.source = source
        self.last: dict[str, Any] | None = None
        self._under_way = False
        self._again = False  # asked for while one was under way: the file may have changed since that was read
        self._remarks: list[str] = []

    def ask(self, why: str) -> None:
        """Read the tree again and have it taken up. While that is under way, one more is remembered, not two."""
        if self._under_way:
            logger.info("%s: a reload is under way; another follows it", why)
            self._again = True
            return
        logger.info("%s: reading the tree file again", why)
        tree = self._read()
        if tree is None:
            return
        refused, self._remarks = reachable(tree, self.root.launching.tree)
        if refused:
            self._tell(False, "refused: " + "; ".join(refused))
            return
        for warning in tree.warnings:
            logger.warning("%s", warning)
        self._under_way = True
        self.root.post(policy.Reload(tree))

    def done(self, answer: policy.Reloaded) -> None:
        """The policy has answered."""
        self._under_way = False
        self._tell(answer.ok, "; ".join([answer.text, *(self._remarks if answer.ok else [])]))
        self._remarks = []
        self.root.spares.revised()
        if self._again:
            self._again = False
            self.ask("once more")

    def _read(self) -> Tree | None:
        if self.source is None:
            self._tell(False, "refused: this tree was not read from a file; give Root(reload=...) what makes it anew")
            return None
        try:
            return self.source()
        except TreeError as error:
            for fault in error.faults:
                logger.error("%s", fault)
            more = f" (and {len(error.faults) - 1} more)" if len(error.faults) > 1 else ""
            self._tell(False, f"refused: {error.faults[0] if error.faults else error}{more}")
        except (SupervisorError, OSError) as error:
            self._tell(False, f"refused: {error}")
        except Exception as error:  # whatever the application's callback does, the root goes on
            logger.exception("reading the tree again")
            self._tell(False, f"refused: {type(error).__name__}: {error}")
        return None

    def _tell(self, ok: bool, text: str) -> None:
        (logger.info if ok else logger.error)("reload: %s", text)
        self.last = {"at": time.time(), "ok": ok, "text": text}
        self.root.changed()


def reachable(tree: Tree, loaded: Tree) -> tuple[list[str], list[str]]:
    """What of a new tree the launcher, which was made for `loaded`, cannot give: (reasons to refuse it, remarks).

    Application code is imported once, before the first child. What was not is imported by the child itself; in a jail,
    where the files may not be there, that would only show when the old process has gone.
    """
    known, refused, alone = set(modules_of(loaded)), [], []
    workers = [(path, spec) for path, spec in tree.workers()]
    workers += [(path, spec.template) for path, spec in tree.supervisors() if spec.template is not None]
    for path, spec in workers:
        module = spec.start.partition(":")[0]
        if module in known:
            continue
        if spec.confine is not None:
            refused.append(
                f"{path} is confined and {module!r} is not loaded: a jail may hide it; "
                "start the tree anew, or name it in preload before that"
            )
        else:
            alone.append(f"{path} imports {module!r} by itself, in memory of its own, until the tree is started anew")
    missing = [module for module in tree.preload if module not in known]
    if missing:
        alone.append(f"preload of {', '.join(missing)} takes effect when the tree is started anew")
    return refused, alone
