"""From a manifest's rewards to things that score. Rewards that read one model share it, and its forward pass."""

from collections.abc import Sequence
from typing import Protocol

from mora_jobs import api
from mora_jobs.api import credentials as credential_values
from mora_jobs.errors import UserError
from mora_jobs.rewards.base import Item, Reward


class Scorer(Protocol):
    """Scores items on one or several rewards at once."""

    def score(self, items: Sequence[Item]) -> dict[str, list[float | None]]:
        """By reward name, one number or None per item."""
        ...

    def close(self) -> None: ...


class One:
    """A scorer of a single reward."""

    def __init__(self, reward: Reward) -> None:
        self._reward = reward

    def score(self, items: Sequence[Item]) -> dict[str, list[float | None]]:
        return {self._reward.name: self._reward.score(items)}

    def close(self) -> None:
        self._reward.close()


def groups(rewards: Sequence[api.Reward]) -> list[list[api.Reward]]:
    """Rewards that are scored together: heads of one classifier (same model and input), else each alone."""
    found: dict[object, list[api.Reward]] = {}
    for reward in rewards:
        shared = reward.classifier and reward.classifier.with_changes(head=0).model_dump_json()
        found.setdefault(shared or reward.name, []).append(reward)
    return list(found.values())


def load(
    group: Sequence[api.Reward], import_paths: Sequence[str] = (), credentials: Sequence[api.Credential] = ()
) -> Scorer:
    """The scorer of one of `groups`: models are loaded, callables imported. Raises UserError."""
    if group[0].classifier is not None:
        from mora_jobs.rewards.classifier import ClassifierScorer

        return ClassifierScorer(group)
    return One(make(group[0], import_paths, credentials))


def make(reward: api.Reward, import_paths: Sequence[str] = (), credentials: Sequence[api.Credential] = ()) -> Reward:
    """One reward by itself. Raises UserError for what its author can put right."""
    if reward.classifier is not None:
        from mora_jobs.rewards.classifier import ClassifierReward

        return ClassifierReward(reward)
    if reward.judge is not None:
        from mora_jobs.rewards.judge import JudgeReward

        return JudgeReward(reward.name, reward.judge, credentials)
    if reward.python is not None:
        from mora_jobs.rewards.python import PythonReward

        return PythonReward(reward.name, reward.python, import_paths)
    assert reward.http is not None, "exactly one of the four: checked by validation"
    from mora_jobs.rewards.http import HttpReward

    return HttpReward(reward.name, reward.http, _bearer(reward.name, reward.http.credentials_ref, credentials))


def _bearer(reward: str, name: str | None, credentials: Sequence[api.Credential]) -> str | None:
    if name is None:
        return None
    value = credential_values.read(credentials, name)
    if value is None:
        raise UserError(
            f"reward {reward!r}",
            f"the credential {name!r} is not there",
            f"declare it in spec.credentials; with `mora run`, set {credential_values.local_variable(name)}",
        )
    return value
