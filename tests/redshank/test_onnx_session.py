import ctypes
from pathlib import Path

import onnxruntime
import pytest

from redshank.bundle import MODEL_FILE
from redshank.errors import IntegrityError, MissingPartError
from redshank.infer import load_model
from redshank.onnx_session import CPU, CUDA, open_session
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


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wheel that lists CUDA and a driver that is there, while the provider does not load."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: None)


@pytest.mark.usefixtures("listed")
@pytest.mark.filterwarnings("ignore:Specified provider:UserWarning")
def test_a_provider_that_is_listed_and_does_not_load_is_not_claimed(folder: Path) -> None:
    assert load_model(folder).providers == (CPU,)
    with pytest.raises(MissingPartError, match=f"{CUDA} did not load; the session runs on {CPU}"):
        load_model(folder, providers=[CUDA, CPU])
