import dataclasses
from pathlib import Path

import numpy as np

from monitoring.baseline import NO_BASELINE, read_baseline
from redshank.bundle import REFERENCE_FILE, Artefact, precision_files
from redshank.reference import read_reference, write_reference
from tests.colour_bundle import write_colour_bundle


def test_references_belong_to_the_precision_that_answers(tmp_path: Path) -> None:
    names = precision_files("int8")
    folder = write_colour_bundle(
        tmp_path / "20261122T090000-aaaaaa",
        schema=2,
        artefacts=(Artefact("int8", *names, 2.0, 0.01, ()),),
    )
    plain = read_reference(folder / REFERENCE_FILE)
    held_out = plain.held_out_counts_DCB + 7
    write_reference(folder / names[2], dataclasses.replace(plain, held_out_counts_DCB=held_out))
    for precision, expected in (("int8", held_out), ("fp32", plain.held_out_counts_DCB)):
        np.testing.assert_array_equal(read_baseline(folder, precision).held_out_DCZ, expected)
    assert read_baseline(folder, "fp16").classes == ("red", "green", "blue")  # of fp32


def test_a_bundle_elsewhere_has_no_baseline(tmp_path: Path) -> None:
    assert read_baseline(tmp_path / "elsewhere", "int8") == NO_BASELINE
