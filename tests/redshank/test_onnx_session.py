from pathlib import Path

import pytest

from redshank.bundle import MODEL_FILE
from redshank.errors import IntegrityError, MissingPartError
from redshank.infer import load_model
from redshank.onnx_session import CPU, open_session
from tests.colour_bundle import write_colour_bundle, write_colour_graph


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_colour_bundle(tmp_path / "20261122T090000-aaaaaa")


def test_a_graph_that_is_none_or_does_not_fit_is_refused(folder: Path) -> None:
    (folder / MODEL_FILE).write_bytes(b"no graph")
    with pytest.raises(IntegrityError, match="does not load"):
        load_model(folder, verify=False)
    write_colour_graph(folder / MODEL_FILE, batch=1)
    with pytest.raises(IntegrityError, match="free batch axis"):
        load_model(folder, verify=False)


def test_the_session_tells_what_it_got_and_refuses_what_it_cannot(folder: Path) -> None:
    assert load_model(folder, providers=[CPU]).providers == (CPU,)
    with pytest.raises(MissingPartError, match="no provider 'NoSuchProvider'"):
        load_model(folder, providers=["NoSuchProvider"])


def test_threads_sleep_between_runs(folder: Path) -> None:
    options = open_session(folder / MODEL_FILE, threads=2).get_session_options()
    assert options.intra_op_num_threads == 2
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
