"""How much of everything the demo does: one plan for people, a small one for the test."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from .digits import COUNTS, SplitCounts
from .field import FieldSite
from .site_schedules import healthy, sudden

MODEL = "digits"
HARMED = "ramp"
HARMLESS = "lobby"


@dataclass(frozen=True)
class Plan:
    """Sizes of one turn of the ring."""

    counts: Mapping[str, SplitCounts]
    train_steps: int
    held_out_steps: int
    """Steps of each held-out-domain fold, which give temperature and absolute reference."""
    heal_steps: int
    width: int
    """Channels of the small CNN."""
    burn_in_scenes: int
    """Images of a site that make its own reference."""
    before_onset: int
    """Images a site sends before two of them change."""
    after_onset: int
    exam_images: int
    """Fresh images of the harmed site, for accuracy before and after."""
    images_per_s: float
    """Pace of the field stream over all sites."""
    accuracy_margin: float
    """What the gates let a source domain lose; few validation images cannot show less."""
    latent_images: int
    seed: int = 0
    severity: float = 5.0
    """Of the shake; 5 is the worst."""

    @property
    def images_per_site(self) -> int:
        """Length of each site's stream."""
        return self.before_onset + self.after_onset

    def sites(self) -> tuple[FieldSite, ...]:
        """Four cameras: two healthy, one that looks different and is not, one that gets worse."""
        n, onset = self.images_per_site, self.before_onset
        return (
            FieldSite("gate", "syn", "shake", healthy(), n, codec="png"),
            FieldSite("yard", "mnist_m", "shake", healthy(), n, codec="jpeg"),
            FieldSite(HARMLESS, "mnist", "warm_lamp", sudden(3.0, onset=onset), n, codec="jpeg"),
            self.harmed_site(n, onset=onset),
        )

    def harmed_site(self, images: int, *, onset: int) -> FieldSite:
        """The camera whose mount works loose at picture `onset`: everything smears."""
        schedule = sudden(self.severity, onset=onset)
        return FieldSite(HARMED, "mnist", "shake", schedule, images, camera=2, codec="png")


FULL = Plan(
    counts=COUNTS,
    train_steps=900,
    held_out_steps=150,
    heal_steps=500,
    width=32,
    burn_in_scenes=200,
    before_onset=230,
    after_onset=320,
    exam_images=200,
    images_per_s=120.0,
    accuracy_margin=0.04,
    latent_images=120,
)

SMALL = replace(
    FULL,
    counts={
        "mnist": SplitCounts(40, 20, 60),
        "mnist_m": SplitCounts(40, 20, 30),
        "street": SplitCounts(5, 0, 5),
        "syn": SplitCounts(40, 20, 30),
    },
    train_steps=250,
    held_out_steps=40,
    heal_steps=60,
    width=16,
    burn_in_scenes=100,
    before_onset=120,
    after_onset=140,
    exam_images=60,
    images_per_s=150.0,
    latent_images=0,
)
