"""Stands for `redshank train` and `redshank export` in tests: real run and bundle folders, fast.

    python tiny_stages.py train MANIFEST --parent RUN --resume --set home.runs=...
    python tiny_stages.py export RUN --parent-bundle ID ...

The network is fixed: logits = mean colour of the image @ weights + bias. Environment:
TINY_HOME (runs/ and bundles/ lie there), TINY_MODEL (folder with model.onnx and weights.npz),
TINY_STEPS (training steps of 20 ms), TINY_LOG (a line for every start, step and end),
TINY_FAIL (verb that shall fail), TINY_DIE (verb that dies of SIGKILL the first time; with
` published` behind it, just after it has published).
"""

from __future__ import annotations

import argparse
import fcntl
import os
import signal
import sys
import time
from pathlib import Path

from redshank.dataset import read_manifest, write_manifest
from redshank.files import new_id, publish_folder, rfc3339, sha256_file
from redshank.run import (
    MANIFEST_FILE,
    WEIGHTS_FILE,
    BackboneSpec,
    Run,
    Temperature,
    read_run,
    write_run,
)
from tests.retraining.tiny_model import SIZE, write_tiny_bundle


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("verb", choices=["train", "export"])
    parser.add_argument("source", type=Path)
    parser.add_argument("--parent", type=Path)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--parent-bundle")
    parser.add_argument("--config")
    parser.add_argument("--set", action="append", default=[])
    options = parser.parse_args()
    home = Path(os.environ["TINY_HOME"])
    note(f"{options.verb} start")
    if os.environ.get("TINY_FAIL") == options.verb:
        print("the tiny stage was told to fail", file=sys.stderr)
        return 1
    if options.verb == "train":
        made = train(options.source, home / "runs", options.parent)
    else:
        made = export(options.source, home / "bundles", options.parent_bundle)
    note(f"{options.verb} end {made.name}")
    die_once(f"{options.verb} published")
    print(made)
    return 0


def train(manifest_path: Path, runs: Path, parent: Path | None) -> Path:
    digest = sha256_file(manifest_path)
    runs.mkdir(parents=True, exist_ok=True)
    checkpoint = runs / f".work-{digest[:16]}"
    checkpoint.touch()
    with checkpoint.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # two trainings at once fail here
        for step in range(int(checkpoint.read_text() or 0), int(os.environ["TINY_STEPS"])):
            time.sleep(0.02)
            note(f"step {step}")
            os.pwrite(file.fileno(), b"%06d" % (step + 1), 0)  # one call: no kill tears it
            if step == 3:
                die_once("train")
        return write_tiny_run(runs, manifest_path, parent=None if parent is None else parent.name)


def write_tiny_run(runs: Path, manifest_path: Path, *, parent: str | None) -> Path:
    manifest, run_id = read_manifest(manifest_path), new_id(time.time())
    with publish_folder(runs / run_id) as folder:
        write_manifest(
            folder / MANIFEST_FILE,
            root=str(manifest.root),
            classes=manifest.classes,
            items=manifest.items,
        )
        (folder / WEIGHTS_FILE).write_bytes(b"tiny")
        files = {name: sha256_file(folder / name) for name in (MANIFEST_FILE, WEIGHTS_FILE)}
        run = Run(
            schema=1,
            run_id=run_id,
            created_at=rfc3339(time.time()),
            code_version="test",
            seed=0,
            steps=1,
            device="cpu",
            seconds=0.1,
            parent=parent,
            data_sha256=sha256_file(manifest_path),
            classes=manifest.classes,
            source_domains=manifest.source_domains,
            target_domains=manifest.target_domains,
            backbone=BackboneSpec("small_cnn", SIZE, 3, 4),
            temperature=Temperature(1.0, "none", 0, 0.0, 0.0),
            metrics=(),
            settings={},
            files=files,
        )
        write_run(folder, run)
    return runs / run_id


def export(run_folder: Path, bundles: Path, parent_bundle: str | None) -> Path:
    run = read_run(run_folder)
    die_once("export")
    return write_tiny_bundle(
        bundles, Path(os.environ["TINY_MODEL"]), run=run, parent_bundle=parent_bundle
    )


def die_once(moment: str) -> None:
    begun = f"{moment.split()[0]} start"
    starts = Path(os.environ["TINY_LOG"]).read_text().splitlines().count(begun)
    if os.environ.get("TINY_DIE") == moment and starts == 1:
        os.kill(os.getpid(), signal.SIGKILL)


def note(line: str) -> None:
    with Path(os.environ["TINY_LOG"]).open("a") as file:
        file.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())
