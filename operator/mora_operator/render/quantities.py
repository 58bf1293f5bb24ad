"""Amounts of resources: what they are worth, and which a pod could not have although the schema admits them."""

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal

from mora_jobs.api.cluster import Resources
from mora_jobs.api.texts import LABEL_KEY

FACTORS = {"m": Decimal("0.001"), "": Decimal(1)}
FACTORS |= {suffix: Decimal(1000) ** power for power, suffix in enumerate("kMGTPE", start=1)}
FACTORS |= {f"{suffix}i": Decimal(1024) ** power for power, suffix in enumerate("KMGTPE", start=1)}
STANDARD = ("cpu", "memory", "ephemeral-storage")
HUGE_PAGES = "hugepages-"
OWNED = re.compile(rf"{HUGE_PAGES}[0-9]+[KMG]i|(?!requests\.)(?!.*kubernetes\.io/)(?=.*/){LABEL_KEY.strip('^$')}")
"""What a pod has to itself: huge pages, and devices; names of kubernetes.io are its own."""


def amount(quantity: str) -> Decimal:
    """The number that a quantity is: 1.5 of "1500m", 2048 of "2Ki"."""
    number = quantity.rstrip("".join(FACTORS))
    return Decimal(number) * FACTORS[quantity[len(number) :]]


def faults(resources: Resources) -> Iterator[tuple[str, str]]:
    """Member and message of every amount that the API server would refuse in a pod."""
    for member, amounts in (("requests", resources.requests), ("limits", resources.limits)):
        for name, quantity in amounts.items():
            path = f"{member}.{name}"
            if not _is_shared(name) and not OWNED.fullmatch(name):
                yield path, "there is no such resource; devices have names like nvidia.com/gpu"
            elif not _is_shared(name) and amount(quantity) % 1:
                yield path, f"must be a whole number, not {quantity}"
    yield from _relations(resources.requests, resources.limits)


def _relations(requests: Mapping[str, str], limits: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, quantity in requests.items():
        if name not in limits:
            if not _is_shared(name):
                yield f"requests.{name}", "give it in limits: this resource cannot be shared"
        elif _is_shared(name) and amount(quantity) > amount(limits[name]):
            yield f"requests.{name}", f"is more than the limit of {limits[name]}"
        elif not _is_shared(name) and amount(quantity) != amount(limits[name]):
            yield f"requests.{name}", f"must equal the limit of {limits[name]}: this resource cannot be shared"
    given = {*requests, *limits}
    huge = next((name for name in limits if name.startswith(HUGE_PAGES)), None)
    if huge is not None and given.isdisjoint(("cpu", "memory")):
        yield f"limits.{huge}", "goes with cpu or memory only"


def _is_shared(name: str) -> bool:
    return name in STANDARD
