"""The whole ring, top to bottom: data, training, export, service, field, monitor, healing, report.

Stages are used as a user would: through the `redshank` command and over HTTP; only the two stores
are read, to say what happened. Labels of field images are read for printed accuracy only.
"""

import time
from pathlib import Path

from .console import Console
from .plan import Plan
from .processes import terminate_as_interrupt
from .settings_file import write_settings
from .steps_field import judge_monitor, photograph_field, send_field, wait_until_watched
from .steps_healing import count_everything, examine, heal, write_page
from .steps_model import build_data, export_model, train_model
from .summary import Summary, summary_text, write_summary
from .turn import Turn
from .uploads import Service
from .workspace import fresh_workspace

READY_S = 90.0
EXPLAIN = {
    "data": "Build five domains of digits from installed packages, and check every image.",
    "train": "Train FixMatch + FixCLR: 10 labels a class in each source domain, the rest without.",
    "export": "Export to an ONNX bundle that proves itself against torch, and publish it.",
    "field": "Serve it over HTTP; four cameras send images, two change midway (one harmlessly).",
    "monitor": "Ask the monitor, which sees no labels, which sites lose accuracy.",
    "heal": "Let the alarm retrain on that site's unlabelled images, and publish if gates allow.",
    "report": "Compare both models on fresh images of the harmed site, and write the report.",
}


def turn_the_ring(root: Path, plan: Plan, console: Console) -> Summary:
    """Run the seven steps in a fresh folder; returns what they came to.

    Publishing without a person (`retraining.mode = auto`) is off by default and on in here.

    Raises:
        RedshankError: a stage failed, or a program died.
    """
    with terminate_as_interrupt(), fresh_workspace(root) as workspace:
        began = time.monotonic()
        service = Service(write_settings(workspace, plan))
        turn = Turn(workspace, plan, console, service, Summary())
        _seven_steps(turn)
        service.close()
        turn.summary.seconds = round(time.monotonic() - began, 1)
        turn.summary.seconds_by_step = console.seconds
        turn.summary.peak_memory_mib = console.peak_memory_mib
        write_summary(workspace.root / "summary.json", turn.summary)
        console.say(f"\n{summary_text(turn.summary)}", indent=0)
        console.say(f"\nEverything is in {workspace.root}", indent=0)
        return turn.summary


def _seven_steps(turn: Turn) -> None:
    step = turn.console.step
    with step("data", EXPLAIN["data"]):
        build_data(turn)
    with step("train", EXPLAIN["train"]):
        run = train_model(turn)
    with step("export", EXPLAIN["export"]):
        first = export_model(turn, run)
    with turn.running("serve"), turn.running("watch"):
        with step("field", EXPLAIN["field"]):
            turn.service.wait_ready(READY_S, turn.check)
            field = photograph_field(turn)
            answers = send_field(turn, field)
        with step("monitor", EXPLAIN["monitor"]):
            wait_until_watched(turn, len(answers))
            alarm = judge_monitor(turn, field, answers)
        with step("heal", EXPLAIN["heal"]):
            challenger = None
            if alarm is not None:
                healing, probes = heal(turn, field)
                challenger, answers = healing.challenger, answers + probes
    count_everything(turn, answers)
    with step("report", EXPLAIN["report"]):
        examine(turn, field.exam, first, challenger)
        write_page(turn)
