from collections import Counter
from pathlib import Path

from demo.digit_manifest import SOURCES, write_digit_manifest
from demo.digits import CLASSES, DOMAINS, SplitCounts, build_digits
from redshank.dataset import read_manifest


def test_sources_have_few_labels_and_other_domains_are_never_trained(tmp_path: Path) -> None:
    files = build_digits(tmp_path, counts=dict.fromkeys(DOMAINS, SplitCounts(4, 1, 2)), workers=1)
    manifest = read_manifest(write_digit_manifest(tmp_path, files, labels_per_class=2))
    assert manifest.classes == CLASSES
    assert manifest.source_domains == SOURCES
    assert manifest.target_domains == ()
    labelled = Counter(i.domain for i in manifest.items if i.split == "train" and i.label)
    assert labelled == dict.fromkeys(SOURCES, 20)
    for item in manifest.items:
        assert manifest.image_path(item).is_file()
        assert (item.label or item.hidden_label) == item.path.split("/")[1]
        if item.domain not in SOURCES:
            assert item.split == "test"
