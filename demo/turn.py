"""What every step of one turn of the ring works with."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from redshank.settings import Home

from .console import Console
from .plan import Plan
from .processes import Finished, Program, background, run_verb
from .summary import Summary
from .uploads import Service
from .workspace import CHECKOUT, Workspace


@dataclass(frozen=True)
class Turn:
    """One turn: where it happens, how large it is, who talks, what it came to."""

    workspace: Workspace
    plan: Plan
    console: Console
    service: Service
    summary: Summary
    programs: list[Program] = field(default_factory=list)
    """Background programs that must stay alive."""

    @property
    def home(self) -> Home:
        """The folder that all verbs share."""
        return Home(root=str(self.workspace.root))

    def verb(self, *arguments: str, accepted: Sequence[int] = (0,)) -> Finished:
        """Run `redshank <arguments>` to its end and remember its memory."""
        finished = run_verb(
            arguments, cwd=CHECKOUT, config=self.workspace.config, accepted=tuple(accepted)
        )
        self.console.remember_memory(arguments[0], finished.peak_memory_mib)
        return finished

    @contextmanager
    def running(self, *arguments: str) -> Iterator[Program]:
        """Run `redshank <arguments>` in the background while the block lasts."""
        log = self.workspace.log(arguments[0])
        with background(arguments, cwd=CHECKOUT, config=self.workspace.config, log=log) as program:
            self.programs.append(program)
            try:
                yield program
            finally:
                self.console.remember_memory(program.name, program.peak_memory_mib)
                self.programs.remove(program)

    def check(self) -> None:
        """Look at the background programs: their memory, and whether one has died.

        Raises:
            StageError: with the end of the log of a program that died.
        """
        for program in self.programs:
            program.require_alive()
            self.console.remember_memory(program.name, program.peak_memory_mib)
