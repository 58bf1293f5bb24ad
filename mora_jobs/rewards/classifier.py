"""Classifier rewards: one or several heads of a reward model, or of a folder made by `mora fit-reward`."""

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mora_jobs import api
from mora_jobs.errors import UserError
from mora_jobs.models import fetch, load_tokenizer
from mora_jobs.rewards.base import Item, checked
from mora_jobs.rewards.heads import HEADS_FILE, HeadsModel
from mora_jobs.rewards.sequence_model import SequenceModel
from mora_jobs.rewards.templates import encode


class Outputs(Protocol):
    """Something with several outputs for an item."""

    heads: int

    def outputs(self, items: Sequence[Item]) -> NDArray[np.float64]:
        """[len(items), heads]; NaN where there is none."""
        ...


class ClassifierScorer:
    """Several rewards that are heads of one model: one forward pass scores them all."""

    def __init__(self, group: Sequence[api.Reward]) -> None:
        spec = group[0].classifier
        assert spec is not None, "a group of classifier rewards"
        self._where = {reward.name: f"reward {reward.name!r} ({spec.model.uri})" for reward in group}
        self._heads = {reward.name: reward.classifier.head for reward in group if reward.classifier is not None}
        self._model = open_classifier(self._where[group[0].name], spec)
        for name, head in self._heads.items():
            if head >= self._model.heads:
                raise UserError(self._where[name], f"has {self._model.heads} outputs, so there is no head {head}")

    def score(self, items: Sequence[Item]) -> dict[str, list[float | None]]:
        outputs = self._model.outputs(items)  # NaN: an item that the model cannot read; its own NaN is an error there
        columns = {name: outputs[:, head].tolist() for name, head in self._heads.items()}
        return {
            name: checked(self._where[name], [None if math.isnan(value) else value for value in column], items)
            for name, column in columns.items()
        }

    def close(self) -> None:
        del self._model


class ClassifierReward:
    """One head of a reward model. Scores are the raw outputs: no sigmoid, no softmax."""

    def __init__(self, reward: api.Reward) -> None:
        self.name = reward.name
        self._scorer = ClassifierScorer([reward])

    def score(self, items: Sequence[Item]) -> list[float | None]:
        return self._scorer.score(items)[self.name]

    def close(self) -> None:
        self._scorer.close()


class _TextClassifier:
    """A sequence-classification model with its tokenizer and template."""

    def __init__(self, where: str, spec: api.ClassifierReward) -> None:
        local = fetch(spec.model)
        self._tokenizer = load_tokenizer(local)
        self._template = spec.template
        self._model = SequenceModel(where, local.path, spec)
        self._max_length = min(spec.max_length or 10**9, self._model.max_length(self._tokenizer))
        self.heads = self._model.heads

    def outputs(self, items: Sequence[Item]) -> NDArray[np.float64]:
        inputs = encode(self._tokenizer, self._template, items, self._max_length)
        return self._model.outputs(inputs)


def open_classifier(where: str, spec: api.ClassifierReward) -> Outputs:
    """The model that `spec` names: heads over a sentence encoder where the folder says so, else a classifier.

    Raises UserError for what is no reward model.
    """
    if spec.model.adapters:
        raise UserError(where, "adapters of a reward model are not applied", "merge them into the model first")
    local = fetch(spec.model)
    if local.gguf is not None:
        raise UserError(where, "a GGUF file cannot be a classifier", "give a folder in the transformers layout")
    if (local.path / HEADS_FILE).is_file():
        return HeadsModel(local.path)
    return _TextClassifier(where, spec)
