from __future__ import annotations

import dataclasses
import itertools
import json
import threading
from pathlib import Path

import pytest

from redshank.bundle import Bundle, read_bundle, write_bundle
from redshank.errors import ConflictError, InputError, IntegrityError, SchemaError
from redshank.files import sha256_bytes
from redshank.records import from_dict
from redshank.registry import Canary, Registry

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    for name in ("a", "b", "c"):
        _bundle(tmp_path / "bundles", name)
    return Registry(tmp_path / "models", tmp_path / "bundles")


def _bundle(folder: Path, name: str, model: str = "default") -> None:
    example = json.loads((GOLDEN / "bundle.json").read_text())
    (folder / name).mkdir(parents=True)
    files = {}
    for file in ("model.onnx", "golden.npz", "reference.npz"):
        (folder / name / file).write_bytes(name.encode())
        files[file] = sha256_bytes(name.encode())
    bundle = from_dict(Bundle, example | {"bundle_id": name, "model": model}, source="golden")
    write_bundle(folder / name, dataclasses.replace(bundle, files=files, artefacts=()))


def _publish(registry: Registry, bundle_id: str) -> int:
    return registry.publish(bundle_id, actor="test", reason="r", at_s=0.0).revision


def test_publish_moves_live_to_previous_and_keeps_history(registry: Registry) -> None:
    assert [_publish(registry, name) for name in ("a", "b")] == [1, 2]
    release = registry.read("default")
    assert (release.live, release.previous) == ("b", "a")
    assert [r.live for r in registry.history("default")] == ["a", "b"]
    assert registry.names() == ("default",)


def test_publishing_the_live_bundle_again_changes_nothing(registry: Registry) -> None:
    assert _publish(registry, "a") == _publish(registry, "a") == 1


def test_rollback_goes_back_and_forth(registry: Registry) -> None:
    _publish(registry, "a")
    with pytest.raises(ConflictError, match="no previous bundle") as caught:
        registry.rollback("default", actor="t", reason="r", at_s=0.0)
    assert "models publish" in caught.value.hint
    _publish(registry, "b")
    assert registry.rollback("default", actor="t", reason="r", at_s=0.0).live == "a"
    assert registry.rollback("default", actor="t", reason="r", at_s=0.0).live == "b"


def test_shadow_and_canary_end_with_a_publish(registry: Registry) -> None:
    _publish(registry, "a")
    registry.set_shadow("default", "b", actor="t", reason="r", at_s=0.0)
    canary = Canary("c", ("harbour",), 0.5)
    release = registry.set_canary("default", canary, actor="t", reason="r", at_s=0.0)
    assert (release.shadow, release.canary, release.revision) == ("b", canary, 3)
    _publish(registry, "c")
    assert registry.read("default").canary is None


def test_canary_must_fit(registry: Registry, tmp_path: Path) -> None:
    _publish(registry, "a")
    with pytest.raises(InputError, match="share 2 is not in"):
        registry.set_canary("default", Canary("b", (), 2), actor="t", reason="r", at_s=0.0)
    _bundle(tmp_path / "bundles", "other", model="birds")
    with pytest.raises(InputError, match="is of model 'birds'"):
        registry.set_shadow("default", "other", actor="t", reason="r", at_s=0.0)


def test_swap_refuses_a_stale_revision(registry: Registry) -> None:
    _publish(registry, "a")
    seen = registry.read("default")
    _publish(registry, "b")
    with pytest.raises(ConflictError, match="at revision 2, expected 1"):
        registry.swap(seen.revision, dataclasses.replace(seen, live="c"))
    assert registry.swap(2, dataclasses.replace(seen, live="c")).revision == 3


def test_changed_bundle_is_not_published(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "bundles/a/model.onnx").write_bytes(b"changed")
    with pytest.raises(IntegrityError, match=r"model\.onnx has sha256"):
        _publish(registry, "a")
    with pytest.raises(InputError, match="holds no bundle"):
        _publish(registry, "none")
    assert registry.names() == ()


def test_unknown_model_and_bad_name_say_what_is_known(registry: Registry) -> None:
    _publish(registry, "a")
    with pytest.raises(InputError, match="released: default"):
        registry.read("birds")
    with pytest.raises(InputError, match="does not fit"):
        registry.read("../birds")


def test_concurrent_publishers_make_one_line_of_revisions(registry: Registry) -> None:
    def work(name: str) -> None:
        for _ in range(10):
            _publish(registry, name)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("a", "b", "c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    history = registry.history("default")
    assert [r.revision for r in history] == list(range(1, len(history) + 1))
    assert all(new.previous == old.live for old, new in itertools.pairwise(history))


def test_bundle_of_another_schema_is_refused(tmp_path: Path) -> None:
    _bundle(tmp_path, "a")
    path = tmp_path / "a" / "bundle.json"
    path.write_text(path.read_text().replace('"schema": 2', '"schema": 5'))
    with pytest.raises(SchemaError, match="schema 5 is not readable"):
        read_bundle(tmp_path / "a")


def test_a_damaged_pointer_says_how_to_mend_it(registry: Registry) -> None:
    _publish(registry, "a")
    _publish(registry, "b")
    pointer = registry.release_path("default")
    for damage in ("{", '{"schema": 1}', "[]"):
        pointer.write_text(damage)
        with pytest.raises(InputError, match=r"release\.json") as caught:
            _publish(registry, "c")
        kept = pointer.parent / "history" / "2.json"
        assert damage == "[]" or caught.value.hint.endswith(f"cp {kept} {pointer}")
    pointer.write_bytes(kept.read_bytes())
    assert _publish(registry, "c") == 3
