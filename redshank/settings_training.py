"""Settings of training: the `[training]` section of `redshank.toml` and its parts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class FixMatchSettings:
    """`[training.fixmatch]`: what all base methods share."""

    weight: float = 1.0
    """Weight of the unlabelled loss; 0 trains on labels only."""
    threshold: float = 0.8
    """Confidence from which a pseudo-label is used, in (0, 1)."""


@dataclass(frozen=True)
class AdaptiveSettings:
    """`[training.adaptive]`: base methods and alignment that follow running averages."""

    floor: float = 0.7
    """Least value of an adaptive threshold: FlexMatch, FreeMatch, SoftMatch."""
    momentum: float = 0.99
    """Of the running averages; papers take 0.999 over a million steps."""
    warm_up_share: float = 0.1
    """Share of the steps at the fixed threshold, while averages settle."""
    debias: float = 0.5
    """Strength of DebiasPL's shift and margin."""


@dataclass(frozen=True)
class TargetSettings:
    """`[training.target]`: images of target domains, whose pseudo-labels nobody checks."""

    class_cap: float = 3.0
    """A class may take this many times its even share of a target domain's images in a step, the
    most confident first; 0: no cap."""
    on_collapse: Literal["stop", "drop"] = "stop"
    """When a target domain's pseudo-labels run together: stop, or go on without its images."""


@dataclass(frozen=True)
class FixCLRSettings:
    """`[training.fixclr]`; see docs/fixclr.md."""

    weight: float = 0.1
    """Weight of the repel-only term; 0 switches it off."""
    temperature: float = 0.5
    """Divides cosine similarities; lower is harder."""
    ramp_share: float = 0.3
    """Share of the steps over which the weight grows from 0."""
    negatives: Literal["all", "cross", "within"] = "all"
    """Which samples of another class repel: of all domains, of others only, of the own only."""
    attract: float = 0.0
    """Weight of a pull to the own class inside the term; 0 is FixCLR."""
    per_class: bool = False
    """One mean a class over its pairs, instead of one a sample."""
    confidence: Literal["none", "hard", "soft"] = "none"
    """Weight of pseudo-labels: all alike, as the base method uses them, or their probability."""
    queue: int = 0
    """Features of earlier steps that repel too."""
    projection: int = 0
    """Width of a projection head for this term alone; 0: the features themselves."""


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

    method: Literal[
        "fixmatch",
        "flexmatch",
        "freematch",
        "softmatch",
        "defixmatch",
        "debiaspl",
        "supervised",
    ] = "fixmatch"
    """What makes pseudo-labels of unlabelled images; supervised takes none."""
    backbone: str = "small_cnn"
    """small_cnn (32 px); a resnet, convnext, efficientnet or vit by its torchvision name, like
    resnet18 or vit_b_16; timm:NAME where timm is installed."""
    width: int = 32
    """Channels of the small CNN."""
    image_size: int = 32
    """Height and width in pixels after decoding."""
    weights: str = ""
    """File of pretrained weights of that network (safetensors or .pth); empty: scratch."""
    steps: int = 2000
    """Steps of the optimiser."""
    labelled_per_step: int = 24
    """Labelled images a step, spread evenly over source domains."""
    unlabelled_per_step: int = 48
    """Unlabelled images a step, spread evenly over all training domains."""
    learning_rate: float = 0.03
    """Highest rate of SGD; falls along a cosine."""
    head_rate_factor: float = 1.0
    """The last layer learns so many times as fast; above 1 for a new head on pretrained weights."""
    weight_decay: float = 5e-4
    """L2 penalty of SGD."""
    ema_decay: float = 0.995
    """Decay of the exponential weight average."""
    average: Literal["ema", "late"] = "ema"
    """Which weight average is evaluated and exported: exponential, or the plain mean of the last
    steps."""
    late_share: float = 0.25
    """Share of the steps that the late average covers."""
    average_statistics: Literal["averaged", "recomputed"] = "averaged"
    """BatchNorm of the average: averaged with the weights, or taken anew from training views."""
    head: Literal["linear", "cosine"] = "linear"
    """Last layer; cosine: directions only, drawn around their means while training."""
    mixstyle: float = 0.0
    """Probability that a step mixes channel statistics inside the network (MixStyle)."""
    alignment: Literal["off", "global", "domain"] = "off"
    """Shifts pseudo-labels towards the labels' class shares: over all images, or a domain each."""
    field_share: float = 0.5
    """Largest share of unlabelled images that may come from target domains, in [0, 0.5]."""
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
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of passes through the network in training; auto: bfloat16 on a GPU, but for the
    small CNN."""
    compile: bool = False
    """Compile the network (torch.compile); pays in long trainings, needs a C++ compiler."""
    prefetch: Literal["auto", "on", "off"] = "auto"
    """Read the next step's images while this one computes; auto: on a GPU, and when streaming."""
    pixels: Literal["disk", "stream"] = "disk"
    """disk: all images decoded once into one file; stream: decoded when needed, for sets whose
    pixels (3 bytes each) do not fit the disk."""
    pixels_memory_mb: int = 1000
    """Most memory for decoded images when streaming, in each process."""
    tensorboard: str = ""
    """Folder of TensorBoard logs, each training in its own subfolder; empty: none."""
    checkpoint_every: int = 500
    """Steps between checkpoints that `--resume` starts from."""
    fixmatch: FixMatchSettings = field(default_factory=FixMatchSettings)
    adaptive: AdaptiveSettings = field(default_factory=AdaptiveSettings)
    fixclr: FixCLRSettings = field(default_factory=FixCLRSettings)
    target: TargetSettings = field(default_factory=TargetSettings)
    style: StyleSettings = field(default_factory=StyleSettings)
