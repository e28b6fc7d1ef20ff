"""Every setting of every stage, with its unit, range and default: one frozen dataclass a section.

`redshank/config.py` fills them from `redshank.toml`, the environment and the command line. Stages
take single values out of them; no algorithm ever sees a settings object.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from redshank.settings_training import (
    AdaptiveSettings,
    FixCLRSettings,
    FixMatchSettings,
    StyleSettings,
    TargetSettings,
    TrainingSettings,
)

__all__ = [
    "AdaptiveSettings",
    "ExportSettings",
    "FixCLRSettings",
    "FixMatchSettings",
    "GateSettings",
    "Home",
    "MirrorSettings",
    "MonitoringSettings",
    "PrecisionSettings",
    "RetrainingSettings",
    "ServingSettings",
    "Settings",
    "StyleSettings",
    "TargetSettings",
    "TrainingSettings",
]


@dataclass(frozen=True)
class Home:
    """`[home]`: where redshank keeps what it makes."""

    root: str = "var"
    """Folder of runs, bundles, releases, spools, field images and databases."""
    monitor_url: str = ""
    """Database of the evaluator; empty: SQLite `monitor.db` in root. PostgreSQL by URL."""
    control_url: str = ""
    """Database of triggers and healings; empty: SQLite `control.db` in root."""

    def path(self, name: str) -> Path:
        """A folder or file inside root: runs, bundles, models, spool, field, snapshots, ..."""
        return Path(self.root) / name

    @property
    def monitor_database(self) -> str:
        """URL of the monitor database."""
        return self.monitor_url or f"sqlite:///{self.path('monitor.db').absolute()}"

    @property
    def control_database(self) -> str:
        """URL of the control database."""
        return self.control_url or f"sqlite:///{self.path('control.db').absolute()}"


@dataclass(frozen=True)
class PrecisionSettings:
    """`[export.precision]`: see docs/export.md."""

    further: tuple[str, ...] = ()
    """Precisions beside fp32: int8 (CPU), fp16 and int8_tensorrt (TensorRT)."""
    require: bool = True
    """Publish nothing when one is refused (exit status 3); false: leave it out and say so."""
    accuracy_drop: float = 0.02
    """Largest fall of accuracy against fp32 in any domain with labels, as a ratio."""
    agreement: float = 0.9
    """Least share of images, in every domain, that get the class fp32 gives them."""
    confidence_shift: float = 0.005
    """Largest change of mean calibrated confidence in any domain, as a ratio."""
    cells_moved: float = 0.2
    """Largest total variation distance of the monitor's (class x confidence bin) cells in any
    domain; a few hundred images move by 0.1 through narrow bins alone."""
    fp16_tolerance: float = 5e-3
    """Largest difference of the logits of fp16 from those of fp32, as `tolerance`."""
    calibration_images: int = 64
    """Training images a domain that INT8 ranges and its temperature are fitted on."""
    reduce_range: bool = False
    """INT8 weights of 7 bits, for CPUs without VNNI."""


@dataclass(frozen=True)
class ExportSettings:
    """`[export]`."""

    model: str = "default"
    """Name under which the bundle is released."""
    tolerance: float = 1e-4
    """Largest difference of logits and embeddings between torch and ONNX Runtime: absolute below
    1, relative to the largest value above."""
    parity_images: int = 256
    """Real validation images in the parity check, over all domains."""
    reference_images: int = 2000
    """Most images a source domain behind the monitor's references."""
    max_batch: int = 256
    """Largest batch the graph takes."""
    abstain_below: float = 0.5
    """Calibrated confidence under which an answer says `abstain`."""
    corrupted_images: int = 12_000
    """About so many corrupted validation images make the map of accuracy without labels, though
    never fewer than one domain under every corruption, 57 x 60; 0: no map."""
    precision: PrecisionSettings = field(default_factory=PrecisionSettings)


@dataclass(frozen=True)
class ServingSettings:
    """`[serving]`."""

    model: str = "default"
    """Name of the release to serve."""
    host: str = "127.0.0.1"
    """Address to listen on; beyond loopback, set tokens_file."""
    port: int = 3000
    """TCP port of predictions, metrics and administration."""
    workers: int = 1
    """Processes that answer; for real backbones on a CPU, one a core."""
    max_body_bytes: int = 16 * 1024 * 1024
    """Largest request body; more is answered 413."""
    max_pixels: int = 50_000_000
    """Largest image, width times height; more is answered 413."""
    precision: Literal["fp32", "int8", "fp16", "int8_tensorrt"] = "fp32"
    """Which graph of a bundle answers; fp32 where a bundle lacks the wished one. int8 is for CPUs,
    fp16 and int8_tensorrt are for engine = tensorrt."""
    engine: Literal["onnxruntime", "tensorrt"] = "onnxruntime"
    """tensorrt: a plan is built beside, checked and taken into use; ONNX Runtime answers until then
    and wherever that fails."""
    max_batch: int = 16
    """Most images one worker runs at once; at load each model gets a limit of its own up to it."""
    max_queue: int = 256
    """Requests that may wait in a worker before 429."""
    deadline_ms: int = 10_000
    """A request that waited longer is answered 504; a client may ask for less by X-Deadline-Ms."""
    decode_ms: int = 3_000
    """An image whose decoding takes longer is given up, 413."""
    max_files: int = 64
    """Images in one batch request."""
    drain_s: float = 1.0
    """Seconds between `not ready` and the end of the listener when the server stops."""
    max_domains: int = 1000
    """Distinct domain labels in metrics; the rest count as `other`."""
    poll_s: float = 0.5
    """Seconds between looks at the release pointer."""
    abstain_below: dict[str, float] = field(default_factory=dict)
    """Domain -> calibrated confidence under which an answer says `abstain`; other domains have the
    bundle's threshold."""
    shadow_share: float = 0.25
    """Share of the images that a shadow sees too, in [0, 1]."""
    record: bool = True
    """Write an event for each image; without, nothing is monitored, no prediction is counted by
    domain, no image is kept and no shadow looks."""
    flush_s: float = 1.0
    """Longest time an event waits in memory."""
    flush_events: int = 500
    """Events in memory that are written at once, before flush_s is over."""
    retention_days: float = 14.0
    """Days that prediction events are kept in the spool."""
    capture_domains: tuple[str, ...] = ()
    """Domains whose images may be kept for retraining; empty: none."""
    capture_per_domain: int = 2000
    """Images kept a domain: half of them the newest, half a uniform sample of what is older."""
    capture_per_s: float = 1.0
    """Images of a domain offered to the field store a second and worker, after a burst of 500."""
    capture_max_bytes: int = 2 * 1024**3
    """Bytes kept in all."""
    capture_days: float = 30.0
    """Images older than this are deleted, also when capture is off."""
    tokens_file: str = ""
    """JSON file token -> {"roles": [...], "domains": [...]}; empty: open, for loopback only."""


@dataclass(frozen=True)
class MirrorSettings:
    """`[mirror]`: field images on another storage, see docs/serving.md."""

    push_to: str = ""
    """Folder or URI (s3://bucket/field) that follows the field store of a server; empty: none."""
    pull_from: str = ""
    """Folder or URI that the field store of a retraining loop elsewhere follows; empty: none."""
    every_s: float = 300.0
    """Seconds between two passes."""


@dataclass(frozen=True)
class MonitoringSettings:
    """`[monitoring]`."""

    tick_s: float = 300.0
    """Seconds between evaluations."""
    period_ticks: int = 8640
    """Ticks in the budget period: 8640 ticks of 300 s are 30 days."""
    false_alarms: float = 0.05
    """False alarms allowed in a period (alpha)."""
    promise: Literal["domain", "fleet"] = "domain"
    """Whom `false_alarms` is promised to: each domain on its own, or all of them together."""
    margin: float = 0.01
    """Drop of mean confidence that is no harm, as a ratio."""
    absolute_margin: float = 0.02
    """The same against the absolute (held-out-domain) reference."""
    burn_in_scenes: int = 300
    """Scenes of a domain that make its relative reference."""
    scene_gap_s: float = 2.0
    """Frames of one client closer in time than this may be one scene."""
    scene_distance: int = 6
    """Largest dHash distance inside a scene, in bits."""
    silent_after_s: float = 86_400.0
    """A domain without events for so long is silent."""
    max_domains: int = 1000
    """Domains under watch; events of further ones count as `other`."""
    metrics_domains: int = 1000
    """Domains with series of their own in metrics; the others' sums have the domain `other`."""
    window_days: float = 60.0
    """How long the counts of each tick are kept, at least; 0: for ever. A version that no release
    names is forgotten after as long without events."""
    host: str = "127.0.0.1"
    """Address of metrics and console."""
    port: int = 9464
    """Metrics and console; 0: any free port."""
    tokens_file: str = ""
    """JSON file token -> {"name": "ann", "roles": ["decide"]} of the console; empty: read only."""
    trigger: bool = True
    """Write a trigger when a domain becomes degraded."""


@dataclass(frozen=True)
class GateSettings:
    """`[retraining.gates]`."""

    accuracy_margin: float = 0.02
    """Largest drop of validation accuracy a source domain may suffer, as a ratio."""
    entropy_drop: float = 0.05
    """Largest fall of the class entropy on field images, as a share of log(classes)."""
    min_agreement: float = 0.4
    """Least agreement of challenger and champion on source validation images."""
    alpha: float = 0.05
    """Error rate of each one-sided test."""
    nuclear_norm_drop: float = 1.0
    """Largest fall of the normalised nuclear norm on field images, in [0, 1]; 1: not measured."""


@dataclass(frozen=True)
class RetrainingSettings:
    """`[retraining]`."""

    mode: Literal["off", "propose", "auto"] = "propose"
    """auto publishes what passes every gate; propose waits for a person."""
    schedule: str = ""
    """Cron expression (UTC) of scheduled retraining; empty: none."""
    poll_s: float = 5.0
    """Seconds between two looks of the loop."""
    cooldown_s: float = 604_800.0
    """Least time between two healings of a model; doubled after a rejected one."""
    min_images: int = 300
    """Field images (one a scene) that a healing needs."""
    max_images: int = 5000
    """Most field images in one snapshot."""
    client_share: float = 0.5
    """Share of `max_images` that one client may give, in (0, 1]."""
    steps: int = 1000
    """Training steps of a challenger, which starts from the champion's weights."""
    timeout_s: float = 86_400.0
    """Longest time of one stage."""
    lease_s: float = 60.0
    """A loop that gives no sign for so long loses its lease."""
    canary_s: float = 0.0
    """Seconds the challenger answers its domains only, before it is live; 0: at once."""
    canary_answers: int = 100
    """Answers that a canary must have given before it may go live. With fewer it goes on for up to
    ten times canary_s; then it is rolled back, as nobody can judge it."""
    max_attempts: int = 5
    """A healing whose loop or stage died so often in its middle is given up."""
    gates: GateSettings = field(default_factory=GateSettings)


@dataclass(frozen=True)
class Settings:
    """The whole of `redshank.toml`."""

    home: Home = field(default_factory=Home)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    export: ExportSettings = field(default_factory=ExportSettings)
    serving: ServingSettings = field(default_factory=ServingSettings)
    mirror: MirrorSettings = field(default_factory=MirrorSettings)
    monitoring: MonitoringSettings = field(default_factory=MonitoringSettings)
    retraining: RetrainingSettings = field(default_factory=RetrainingSettings)
