from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[3] / "docs" / "fixclr.md"


def example() -> str:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return str(block)


def test_example_of_the_page_runs_and_learns() -> None:
    names: dict[str, Any] = {}
    exec(compile(example(), str(PAGE), "exec"), names)
    assert names["accuracy"] > 0.9


def test_losses_need_torch_only() -> None:
    """`from redshank.nn import FixCLRLoss` in anybody's project."""
    heavy = ("numpy", "torchvision", "PIL", "safetensors", "onnx")
    code = (
        "import sys\n"
        f"for name in {heavy}: sys.modules[name] = None\n"
        "from redshank.nn import FixCLRLoss, fixmatch_loss, averaged_copy\n"
        "import torch\n"
        "FixCLRLoss()(torch.randn(4, 3), torch.tensor([0, 1, 0, 1]))\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
