"""One training: what every worker of it has to know, and where its results lie."""

import hashlib
from dataclasses import dataclass
from typing import Any

from mora_jobs import api
from mora_jobs.align.online.sampler import Sampler
from mora_jobs.api.methods import Method
from mora_jobs.artifacts.document import canonical, read_json
from mora_jobs.artifacts.store import Store

POLICY = "policy"
RESULT = "result.json"
LOG = "log.json"
# Where and how often, not what: the result is the same.
WITHOUT_INFLUENCE = {"maxFailures"}


@dataclass(frozen=True)
class Task:
    """A training of the job. Everything in it can be pickled."""

    name: str
    root: str
    """output.uri of the job."""
    spec: api.AlignmentSpec
    model: api.ModelRef
    """Start of the training, without the adapters of `frozen`."""
    frozen: tuple[str, ...]
    """URIs of adapter folders that are part of the start and not trained, in the order in which they were learned."""
    reference: api.ModelRef | None
    """A reference model other than the start."""
    weights: tuple[float, ...]
    """One for each objective of the spec."""
    stage: str
    """Objective whose own pairs are used (rule StageGuard), or ""."""
    pairs: str
    """Digest of the table of pairs."""
    other_method: Method | None = None
    """A method other than the spec's, for policies that the spec's method needs."""
    margins: tuple[tuple[str, api.ModelRef], ...] = ()
    """Objectives whose reward is what a policy implies, and that policy (MODPO)."""
    protected: tuple[str, ...] = ()
    """URIs of adapters whose directions the training leaves alone (OrthAlign)."""
    sampler: Sampler | None = None
    """What samples while the policy is trained (online methods)."""

    @property
    def method(self) -> Method:
        return self.other_method or self.spec.method

    @property
    def objectives(self) -> tuple[str, ...]:
        return tuple(objective.name for objective in self.spec.objectives)

    @property
    def wanted(self) -> tuple[tuple[str, ...], tuple[float, ...]]:
        """The objectives with a weight, and their weights: the others are not trained on."""
        found = [(name, weight) for name, weight in zip(self.objectives, self.weights, strict=True) if weight > 0]
        total = sum(weight for _, weight in found)
        return tuple(name for name, _ in found), tuple(weight / total for _, weight in found)

    @property
    def store(self) -> Store:
        return Store(self.root).child(f"trainings/{self.name}")

    @property
    def policy_uri(self) -> str:
        """Folder of the trained adapter or model."""
        return f"{self.store.uri}/{POLICY}"

    def policy_model(self, uri: str) -> api.ModelRef:
        """A policy of this training, its last or one of a step, that lies at `uri`, over what the training started from."""
        if self.spec.lora is None:
            return self.model.with_changes(uri=uri, revision=None)
        adapters = [api.Adapter(name=f"part-{number}", uri=part) for number, part in enumerate((*self.frozen, uri), 1)]
        return self.model.with_changes(adapters=adapters)

    @property
    def bf16(self) -> bool:
        return self.spec.trainer.precision.value == "BF16"

    def digest(self) -> str:
        """sha256 of everything that decides the result: what a checkpoint or a result must match."""
        trainer = {name: value for name, value in self.spec.trainer.to_dict().items() if name not in WITHOUT_INFLUENCE}
        decides: dict[str, Any] = {
            "model": self.model.to_dict(),
            "frozen": list(self.frozen),
            "reference": None if self.reference is None else self.reference.to_dict(),
            "objectives": list(self.objectives),
            "weights": list(self.weights),
            "stage": self.stage,
            "pairs": self.pairs,
            "method": self.method.to_dict(),
            "margins": [[objective, model.to_dict()] for objective, model in self.margins],
            "protected": list(self.protected),
            "sampler": None if self.sampler is None else self.sampler.decides(),
            "trainer": trainer,
            "lora": None if self.spec.lora is None else self.spec.lora.to_dict(),
        }
        return f"sha256:{hashlib.sha256(canonical(decides)).hexdigest()}"

    def result(self) -> dict[str, Any] | None:
        """What the finished training left, or None."""
        found = read_json(self.store, RESULT)
        return found if found is not None and found["config"] == self.digest() else None
