import io
from pathlib import Path

import pytest

from demo.console import Console
from demo.plan import SMALL
from demo.processes import Finished
from demo.steps_healing import examine, healing_of_site, note_healing, probes_of
from demo.summary import Summary
from demo.turn import Turn
from demo.uploads import Service, Upload
from demo.workspace import Workspace
from redshank.healing import Gate, Healing, State
from redshank.store.control import open_control
from redshank.trigger import make_trigger


def upload(number: int, severity: float = 0.0) -> Upload:
    return Upload("ramp", f"ramp-{number}", b"image", "image/png", "7", severity)


def healing(state: State, *gates: Gate) -> Healing:
    return Healing(1, "h1", "t1", "digits", state, "", 1, "b1", None, None, "b2", gates, "because")


def gate(name: str, verdict: str) -> Gate:
    return Gate(name, "syn", verdict, 0.05, 0.04, 600, 0.02, f"{name} of syn")  # type: ignore[arg-type]  # a literal


@pytest.fixture
def said() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def turn(tmp_path: Path, said: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> Turn:
    """The first bundle is right on half of the images, the challenger on all."""

    def verb(_turn: Turn, _name: str, bundle: str, _json: str, *files: str) -> Finished:
        answers = [
            f'{{"file": "{file}", "class": "{7 if bundle == "b2" or number % 2 else 1}"}}'
            for number, file in enumerate(files)
        ]
        return Finished(0, "\n".join(answers), 0.1, 10.0)

    monkeypatch.setattr(Turn, "verb", verb)
    return Turn(Workspace(tmp_path), SMALL, Console(said), Service(1), Summary())


def test_a_site_goes_on_sending_what_it_sees_now() -> None:
    stream = [upload(0), upload(1), upload(2, 5.0), upload(3, 5.0)]
    assert probes_of(stream) == stream[2:]
    assert probes_of(stream[:2]) == stream[:2]


def test_a_refusal_names_the_gates(turn: Turn, said: io.StringIO) -> None:
    note_healing(
        turn, healing("rejected", gate("golden", "pass"), gate("source_validation", "fail"))
    )
    assert not turn.summary.promoted
    assert turn.summary.healing_state == "rejected"
    assert [row["verdict"] for row in turn.summary.gates] == ["pass", "fail"]
    refused = "not published (source_validation syn): the first model keeps answering"
    assert refused in said.getvalue()


def test_accuracy_after_is_the_live_model_s(turn: Turn) -> None:
    exam = [upload(number) for number in range(4)]
    note_healing(turn, healing("live", gate("golden", "pass")))
    examine(turn, exam, "b1", "b2")
    assert turn.summary.accuracy_before == 0.5
    assert turn.summary.accuracy_after == turn.summary.accuracy_challenger == 1.0
    assert len(list((turn.workspace.root / "exam").iterdir())) == 4


def test_a_refused_challenger_changes_nothing(turn: Turn) -> None:
    note_healing(turn, healing("rejected", gate("golden", "fail")))
    examine(turn, [upload(number) for number in range(4)], "b1", "b2")
    assert turn.summary.accuracy_after == turn.summary.accuracy_before == 0.5
    assert turn.summary.accuracy_challenger == 1.0


def test_without_a_challenger_there_is_one_figure(turn: Turn) -> None:
    examine(turn, [upload(0), upload(1)], "b1", None)
    assert turn.summary.accuracy_before == turn.summary.accuracy_after == 0.5
    assert turn.summary.accuracy_challenger is None


def test_the_healing_of_the_site_is_followed_whatever_is_triggered_later(turn: Turn) -> None:
    assert healing_of_site(turn, "ramp") is None
    store = open_control(turn.home.control_database, clock=lambda: 100.0)
    for number, site in enumerate(("gate", "ramp", "ramp", "yard")):
        store.add_trigger(
            make_trigger(
                kind="alarm",
                model="digits",
                domains=[site],
                onset_at_s=float(number),
                created_at_s=100.0 + number,
                actor="evaluator",
                evidence={},
            )
        )
    triggers = [one for one in store.triggers() if one.domains == ("ramp",)]
    mine = [store.healing(one.trigger_id) for one in triggers]
    first = min(mine, key=lambda one: one.healing_id)
    assert healing_of_site(turn, "ramp") == first
    store.transition(first, "superseded", reason="newer", actor="loop", lease=None)
    found = healing_of_site(turn, "ramp")
    store.close()
    assert found is not None
    assert found.healing_id == max(one.healing_id for one in mine)
