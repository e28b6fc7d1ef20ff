from pathlib import Path

import numpy as np
import onnx
import pytest

from export.golden import synthetic_images
from export.pooled_norm import fold_pooled_norms
from export.to_onnx import check_graph
from redshank.onnx_session import open_session, run_session

from .pooling_graph import SIDE, write_pooling_graph


@pytest.mark.parametrize(
    ("negative", "pooled", "folded"), [(False, True, 3), (True, True, 0), (False, False, 0)]
)
def test_the_rewritten_graph_answers_the_same(
    tmp_path: Path, negative: bool, pooled: bool, folded: int
) -> None:
    write_pooling_graph(tmp_path / "a.onnx", negative=negative, pooled=pooled)
    model = onnx.load(tmp_path / "a.onnx")
    assert fold_pooled_norms(model) == folded
    onnx.save(model, tmp_path / "b.onnx")
    check_graph(tmp_path / "b.onnx")
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("BatchNormalization") == 3 - folded
    assert kinds.count("Relu") == kinds.count("MaxPool") == 3
    assert kinds.index("Relu") < kinds.index("MaxPool") or not folded
    images = synthetic_images(8, SIDE, SIDE)
    before, after = (
        run_session(open_session(tmp_path / name), images) for name in ("a.onnx", "b.onnx")
    )
    for expected, found in zip(before, after, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_a_chain_whose_middle_is_read_elsewhere_is_left_alone(tmp_path: Path) -> None:
    write_pooling_graph(tmp_path / "a.onnx")
    model = onnx.load(tmp_path / "a.onnx")
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info("b1"))
    assert fold_pooled_norms(model) == 2
