from collections import Counter
from pathlib import Path

import pytest

from demo.plan import FULL, HARMED, HARMLESS, SMALL, Plan
from demo.settings_file import write_settings
from demo.site_optics import HARMLESS as HARMLESS_KINDS
from demo.workspace import Workspace
from redshank.config import load_settings


@pytest.mark.parametrize("plan", [FULL, SMALL])
def test_there_are_enough_test_digits_for_every_site(plan: Plan) -> None:
    wanted = Counter({"mnist": plan.exam_images})
    for site in plan.sites():
        wanted[site.content] += site.images
    for domain, images in wanted.items():
        assert images <= 10 * plan.counts[domain].test


@pytest.mark.parametrize("plan", [FULL, SMALL])
def test_two_sites_are_healthy_one_changes_harmlessly_one_gets_worse(plan: Plan) -> None:
    worst = {site.name: max(site.schedule(n) for n in range(site.images)) for site in plan.sites()}
    changed = {name for name, severity in worst.items() if severity}
    assert changed == {HARMED, HARMLESS}
    kind_of = {site.name: site.kind for site in plan.sites()}
    assert kind_of[HARMLESS] in HARMLESS_KINDS
    assert kind_of[HARMED] not in HARMLESS_KINDS
    assert plan.burn_in_scenes < plan.before_onset
    assert {site.codec for site in plan.sites()} == {"png", "jpeg"}


def test_settings_are_valid_and_publish_by_themselves_here_only(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    port = write_settings(workspace, FULL)
    settings = load_settings(workspace.config, environment={})
    assert settings.serving.port == port
    assert settings.monitoring.port not in (0, port)
    assert settings.home.root == str(tmp_path)
    assert settings.retraining.mode == "auto"
    assert load_settings(environment={}).retraining.mode == "propose"
    assert HARMED in settings.serving.capture_domains
    assert settings.retraining.gates.accuracy_margin == FULL.accuracy_margin
