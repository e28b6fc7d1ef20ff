"""Public benchmarks of the form <domain>/<class>/<image>, known by the names of their domains.

PACS, Office-Home, VLCS, TerraIncognita, DomainNet and Digits-DG, as the DomainBed and the Dassl
tool boxes lay them out. They differ from the general layout in what lies around the domains (an
`images/` level, split files, lists) and in what folders are called. Domains keep their folder's
name; the class is the folder's name, without the three digits that one copy of Office-Home has.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from redshank.errors import InputError
from redshank.layouts.folders import list_domains
from redshank.layouts.listing import Listing, is_image
from redshank.layouts.split_lists import apply_split_lists, find_split_lists
from redshank.layouts.tree import Tree, child

_NUMBERED = re.compile(r"^\d{3}_")


def _without_number(name: str) -> str:
    return _NUMBERED.sub("", name)


@dataclass(frozen=True)
class Benchmark:
    """What tells one benchmark from others."""

    name: str
    domains: tuple[frozenset[str], ...]
    """Of each domain, the names its folder has in known copies: small letters and digits only."""
    classes: frozenset[str] = frozenset()
    """Needed to recognise it where the domains have everyday names."""
    class_name: Callable[[str], str] = str

    def base(self, tree: Tree) -> str | None:
        """The folder that holds the domains: the root, `images/`, or the only folder there."""
        for path in _candidates(tree):
            if len(self.found(tree, path)) == len(self.domains):
                return path
        return None

    def found(self, tree: Tree, path: str) -> list[str]:
        """Names of the folders in `path` that are domains of this benchmark."""
        known = frozenset().union(*self.domains)
        return [name for name in tree.folders(path) if plain_name(name) in known]


def _benchmark(
    name: str,
    *domains: str | tuple[str, ...],
    classes: str = "",
    class_name: Callable[[str], str] = str,
) -> Benchmark:
    names = [(one,) if isinstance(one, str) else one for one in domains]
    return Benchmark(
        name, tuple(map(frozenset, names)), frozenset(classes.split()), class_name=class_name
    )


PACS = _benchmark(
    "pacs",
    "artpainting",
    "cartoon",
    "photo",
    "sketch",
    classes="dog elephant giraffe guitar horse house person",
)
OFFICE_HOME = _benchmark(
    "office-home",
    "art",
    "clipart",
    "product",
    ("realworld", "real"),
    classes="alarmclock backpack batteries bed bike bottle bucket calculator",
    class_name=_without_number,
)
VLCS = _benchmark(
    "vlcs",
    ("caltech101", "caltech"),
    "labelme",
    ("sun09", "sun"),
    ("voc2007", "pascal"),
)
TERRA_INCOGNITA = _benchmark(
    "terra-incognita", "location38", "location43", "location46", "location100"
)
DOMAINNET = _benchmark(
    "domainnet", "clipart", "infograph", "painting", "quickdraw", "real", "sketch"
)
DIGITS_DG = _benchmark("digits-dg", "mnist", "mnistm", "svhn", "syn")
BENCHMARKS = (PACS, OFFICE_HOME, VLCS, TERRA_INCOGNITA, DOMAINNET, DIGITS_DG)


def plain_name(name: str) -> str:
    """Small letters and digits only: `Real World`, `real_world` and `RealWorld` are one."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def recognise_benchmark(tree: Tree) -> Benchmark | None:
    """The benchmark whose domains, and where they are everyday words classes, are all there."""
    for one in BENCHMARKS:
        base = one.base(tree)
        if base is None or set(_domain_folders(tree, base)) - set(one.found(tree, base)):
            continue
        if one.classes and not one.classes & _classes(one, tree, base):
            continue
        if _outside(tree, base):
            continue
        return one
    return None


def read_benchmark(one: Benchmark, tree: Tree) -> Listing:
    """List a benchmark's images, with the splits of its split files where it has some.

    Raises:
        InputError: a domain is missing, or there is no image.
    """
    base = one.base(tree)
    if base is None:
        wanted = ", ".join(sorted(min(names, key=len) for names in one.domains))
        raise InputError(
            f"{tree.root} is not {one.name}: expected folders for {wanted}, "
            f"found {', '.join(tree.folders()) or 'no folder'}",
            hint="Part of a benchmark, or other domains: --layout folders.",
        )
    inner = tree.within(base)
    domains = one.found(tree, base)
    notes = [
        f"folder {child(base, name)} is no domain of {one.name}: passed over"
        for name in _domain_folders(tree, base)
        if name not in domains
    ]
    if outside := _outside(tree, base):
        notes.append(f"{len(outside)} images outside {base} were passed over, like {outside[0]}")
    listing = list_domains(inner, domains, layout=one.name, class_name=one.class_name, notes=notes)
    lists = find_split_lists(tree, base)
    return apply_split_lists(listing, tree, lists) if lists else listing


def _candidates(tree: Tree) -> Iterator[str]:
    yield ""
    for name in ("images", "kfold"):
        if name in tree.folders():
            yield name
    if len(tree.folders()) == 1:
        only = tree.folders()[0]
        yield only
        if "images" in tree.folders(only):
            yield f"{only}/images"


def _domain_folders(tree: Tree, base: str) -> list[str]:
    """Folders beside the domains that hold images somewhere."""
    return [
        name
        for name in tree.folders(base)
        if any(is_image(path) for path in tree.below(child(base, name)))
    ]


def _outside(tree: Tree, base: str) -> list[str]:
    """Images that lie beside the folder of the domains."""
    if not base:
        return []
    return [path for path in tree.below("") if is_image(path) and not path.startswith(base + "/")]


def _classes(one: Benchmark, tree: Tree, base: str) -> set[str]:
    """Plain names of the class folders of the first domain, below split folders too."""
    domain = child(base, one.found(tree, base)[0])
    names = set(tree.folders(domain))
    for inner in tree.folders(domain):
        names |= set(tree.folders(child(domain, inner)))
    return {plain_name(one.class_name(name)) for name in names}
