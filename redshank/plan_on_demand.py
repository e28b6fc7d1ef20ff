"""A TensorRT plan built by another process while ONNX Runtime answers, and then taken into use.

`redshank export BUNDLE --plan` prints the folder of the plan that fits this machine, from the cache
or after building it, which takes seconds to minutes. A server starts it when it takes a bundle,
goes on with ONNX Runtime, and swaps models when `poll` has the folder.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from redshank.errors import MissingPartError, StageError
from redshank.files import check_sha256, read_json
from redshank.infer import Model, load_model
from redshank.tensorrt_engine import TensorRTSession, check_version

PLAN_FILE = "model.plan"
SIDECAR_FILE = "plan.json"
LIBRARIES = ("tensorrt", "tensorrt_rtx")
"""In order of preference, as `redshank export --plan` has it."""
CUDA = "cuda.bindings.runtime"


class PlanBuild:
    """One running build.

    Args:
        bundle_dir: whose plan.
        precision: fp32, fp16 or int8_tensorrt.
        options: `--config` and `--set` of the server, handed on.
        program: the command, for tests.
        niceness: of the process. At 10 it gets a tenth of a core that a worker keeps busy; at 19
            it would starve on a busy machine.
    """

    def __init__(
        self,
        bundle_dir: Path,
        precision: str,
        *,
        options: Sequence[str] = (),
        program: Sequence[str] = (sys.executable, "-m", "redshank"),
        niceness: int = 10,
    ) -> None:
        words = (*program, "export", str(bundle_dir), "--plan", "--precision", precision, *options)
        # files, not pipes: nobody reads while it runs, and a full pipe would stop it
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  # open as long as the build
        self._printed = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(words, stdout=self._printed, stderr=self._said)
        with suppress(OSError):  # it ended already
            os.setpriority(os.PRIO_PROCESS, self._process.pid, niceness)
        self._words: tuple[str, str] | None = None

    def poll(self) -> Path | None:
        """The plan's folder; None while it is being built.

        Raises:
            StageError: the build failed, with its last words. ONNX Runtime goes on.
        """
        status = self._process.poll()
        if status is None:
            return None
        printed, said = self._ended()
        if status != 0:
            raise StageError(
                f"no TensorRT plan: {said[-500:] or f'exit status {status}'}",
                hint="The bundle goes on with ONNX Runtime.",
            )
        return Path(printed.splitlines()[-1])

    def stop(self) -> None:
        """End the build; nothing half-made stays."""
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait()
        self._ended()

    def _ended(self) -> tuple[str, str]:
        """What the process wrote; closes its files."""
        if self._words is None:
            self._words = _text(self._printed), _text(self._said)
        return self._words


def load_runtime() -> tuple[Any, Any]:
    """TensorRT (or TensorRT-RTX) and CUDA, as `planned_model` wants them.

    Raises:
        MissingPartError: one of them is not installed, does not load or is too old.
    """
    reasons = []
    for name in LIBRARIES:
        try:
            library = importlib.import_module(name)
            check_version(library)
            return library, importlib.import_module(CUDA)
        except (ImportError, OSError, MissingPartError) as error:
            reasons.append(f"{name}: {error}")
    raise MissingPartError(
        f"no TensorRT runtime loads here ({'; '.join(reasons)})",
        hint="Install the extra `gpu`, or set serving.engine = onnxruntime.",
    )


def runs_a_plan(model: Model) -> bool:
    """Whether a model runs on TensorRT's own runtime."""
    return model.providers[0].startswith("tensorrt")


def planned_model(
    bundle_dir: Path, plan_dir: Path, precision: str, *, library: Any, cuda: Any
) -> Model:
    """The bundle on TensorRT, after its golden answers held there.

    Args:
        bundle_dir: the bundle.
        plan_dir: what `PlanBuild.poll` gave.
        precision: whose plan it is.
        library: module `tensorrt` or `tensorrt_rtx`.
        cuda: module `cuda.bindings.runtime`.

    Raises:
        IntegrityError: the plan changed, does not fit this device, or answers otherwise.
        EngineError: CUDA failed.
    """
    digest = str(read_json(plan_dir / SIDECAR_FILE)["plan_sha256"])
    check_sha256(plan_dir / PLAN_FILE, digest, source=str(plan_dir))
    session = TensorRTSession(library, cuda, (plan_dir / PLAN_FILE).read_bytes())
    try:
        model = load_model(bundle_dir, precision=precision, session=session)
        model.self_test()
    except Exception:
        session.close()
        raise
    return model


def _text(file: Any) -> str:
    with file:
        file.seek(0)
        return bytes(file.read()).decode(errors="replace").strip()
