"""Every family of networks goes through export: parity, half precision, INT8, NVIDIA's parser.

timm's test networks stand for ViT, ConvNeXt and EfficientNet: the same blocks in a tenth of the
time. torchvision's were checked in the same way by hand (docs/verified.md).
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from export.golden import synthetic_images
from export.parity import checked_parity, parity_table
from export.quantize import float16, int8_for_cpu, int8_for_tensorrt
from export.to_onnx import write_onnx
from redshank.nn.backbones import Backbone, build_backbone
from redshank.onnx_session import open_session, run_session

SIZE = 64
IMAGES = synthetic_images(12, SIZE, SIZE)
FAMILIES = ("timm:test_vit", "timm:test_convnext", "timm:test_efficientnet")


@pytest.fixture(scope="module", params=FAMILIES)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("timm", reason="timm is not installed (extra timm)")
    torch.manual_seed(0)
    network = build_backbone(request.param, 5, image_size=SIZE)
    with torch.no_grad():  # statistics of BatchNorm, where there is one, leave their start
        network.train()(torch.rand(8, 3, SIZE, SIZE))
    network.eval()
    path = tmp_path_factory.mktemp("network") / "model.onnx"
    write_onnx(network, path, height=SIZE, width=SIZE, max_batch=32, metadata={})
    check_parity(network, path)
    return path


def check_parity(network: Backbone, path: Path) -> None:
    table = parity_table(
        network,
        open_session(path),
        {"synthetic": IMAGES},
        temperature=1.0,
        batch_sizes=(1, 5, 32),
    )
    parity = checked_parity(table, tolerance=1e-4)
    assert parity.argmax_agreement == 1.0
    assert [row.images for row in table] == [12, 1, 5, 32]


def correlation(path: Path, exported: Path) -> float:
    found, expected = (run_session(open_session(p), IMAGES)[1] for p in (path, exported))
    return float(np.corrcoef(found.ravel(), expected.ravel())[0, 1])


def test_a_network_in_fewer_bits_answers_alike(exported: Path, tmp_path: Path) -> None:
    float16(exported, tmp_path / "fp16.onnx")
    int8_for_cpu(exported, tmp_path / "int8.onnx", [IMAGES])
    assert 0.999 < correlation(tmp_path / "fp16.onnx", exported) < 1.0
    # random weights; whether INT8 may be published is for the gate and real images to say
    assert 0.9 < correlation(tmp_path / "int8.onnx", exported) < 1.0
    sizes = [p.stat().st_size for p in (tmp_path / "int8.onnx", exported)]
    assert sizes[0] < 0.6 * sizes[1]


def test_nvidias_parser_takes_every_graph_meant_for_it(exported: Path, tmp_path: Path) -> None:
    trt = pytest.importorskip(
        "tensorrt_rtx", reason="tensorrt-rtx-cu13 is not installed (extra tensorrt-rtx)"
    )
    float16(exported, tmp_path / "fp16.onnx")
    int8_for_tensorrt(exported, tmp_path / "symmetric.onnx", [IMAGES])
    logger = trt.Logger(trt.Logger.ERROR)
    for path in (exported, tmp_path / "fp16.onnx", tmp_path / "symmetric.onnx"):
        network = trt.Builder(logger).create_network(0)
        parser = trt.OnnxParser(network, logger)
        taken = parser.parse(path.read_bytes())
        assert taken, [parser.get_error(i).desc() for i in range(parser.num_errors)]
        assert network.num_outputs == 2
