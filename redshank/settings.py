"""Every setting of every stage, with its unit, range and default: one frozen dataclass a section.

`redshank/config.py` fills them from `redshank.toml`, the environment and the command line. Stages
take single values out of them; no algorithm ever sees a settings object.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


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
class FixMatchSettings:
    """`[training.fixmatch]`."""

    weight: float = 1.0
    """Weight of the unlabelled loss; 0 trains on labels only."""
    threshold: float = 0.8
    """Confidence from which a pseudo-label is used, in (0, 1)."""


@dataclass(frozen=True)
class FixCLRSettings:
    """`[training.fixclr]`; see docs/fixclr.md."""

    weight: float = 0.1
    """Weight of the repel-only term; 0 switches it off."""
    temperature: float = 0.5
    """Divides cosine similarities; lower is harder."""
    ramp_share: float = 0.3
    """Share of the steps over which the weight grows from 0."""


@dataclass(frozen=True)
class StyleSettings:
    """`[training.style]`: share of strong views that change their style so; 0 switches it off."""

    fourier: float = 0.0
    """Fourier amplitudes mixed with those of an image of another domain."""
    channel_statistics: float = 0.0
    """Mean and spread of each channel mixed with those of an image of another domain."""
    random_convolution: float = 0.0
    """A random convolution, mixed with the image."""
    texture: float = 0.0
    """Difference from a random texture."""
    labelled: bool = False
    """Labelled views change their style too."""


@dataclass(frozen=True)
class TrainingSettings:
    """`[training]`."""

    backbone: str = "small_cnn"
    """small_cnn (32 px), resnet18, resnet34 or resnet50."""
    width: int = 32
    """Channels of the small CNN."""
    image_size: int = 32
    """Height and width in pixels after decoding."""
    weights: str = ""
    """File of pretrained backbone weights (safetensors, or torchvision's .pth); empty: scratch."""
    steps: int = 2000
    """Steps of the optimiser."""
    labelled_per_step: int = 24
    """Labelled images a step, spread evenly over source domains."""
    unlabelled_per_step: int = 48
    """Unlabelled images a step, spread evenly over all training domains."""
    learning_rate: float = 0.03
    """Highest rate of SGD; falls along a cosine."""
    weight_decay: float = 5e-4
    """L2 penalty of SGD."""
    ema_decay: float = 0.995
    """Decay of the weight average that is evaluated and exported."""
    field_share: float = 0.5
    """Largest share of unlabelled images that may come from target domains, in [0, 1]."""
    held_out: Literal["off", "short", "full"] = "short"
    """Leave-one-domain-out folds for temperature and references: none, few steps, all steps."""
    held_out_steps: int = 400
    """Steps a fold when held_out is short."""
    horizontal_flip: bool = False
    """Mirror images at random; wrong for digits and letters."""
    colour_jitter: float = 0.5
    """Random tint and inversion of labelled and strong views, in [0, 1]; 0 where colour tells
    classes apart."""
    labelled_view: Literal["weak", "strong"] = "weak"
    """How far labelled images are changed: shift and colours, or all that unlabelled ones see."""
    seed: int = 0
    """Equal seeds give equal weights on one kind of machine."""
    threads: int = 0
    """CPU threads; 0: let torch decide."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto takes an NVIDIA device where there is one."""
    checkpoint_every: int = 500
    """Steps between checkpoints that `--resume` starts from."""
    fixmatch: FixMatchSettings = field(default_factory=FixMatchSettings)
    fixclr: FixCLRSettings = field(default_factory=FixCLRSettings)
    style: StyleSettings = field(default_factory=StyleSettings)


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
    max_batch: int = 16
    """Images one worker runs at once."""
    max_queue: int = 256
    """Requests that may wait in a worker before 429."""
    deadline_ms: int = 10_000
    """A request that waited longer is answered 504."""
    max_files: int = 64
    """Images in one batch request."""
    drain_s: float = 1.0
    """Seconds between `not ready` and the end of the listener when the server stops."""
    max_domains: int = 1000
    """Distinct domain labels in metrics; the rest count as `other`."""
    poll_s: float = 0.5
    """Seconds between looks at the release pointer."""
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
    capture_max_bytes: int = 2 * 1024**3
    """Bytes kept in all."""
    capture_days: float = 30.0
    """Images older than this are deleted, also when capture is off."""
    tokens_file: str = ""
    """JSON file token -> {"roles": [...], "domains": [...]}; empty: open, for loopback only."""


@dataclass(frozen=True)
class MonitoringSettings:
    """`[monitoring]`."""

    tick_s: float = 300.0
    """Seconds between evaluations."""
    period_ticks: int = 8640
    """Ticks in the budget period: 8640 ticks of 300 s are 30 days."""
    false_alarms: float = 0.05
    """False alarms allowed per domain and period (alpha)."""
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
    monitoring: MonitoringSettings = field(default_factory=MonitoringSettings)
    retraining: RetrainingSettings = field(default_factory=RetrainingSettings)
