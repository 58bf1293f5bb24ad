"""`mora fit-reward`: from ratings to a heads folder that the `classifier` reward takes like a model.

A head whose ratings are all 0 or 1 is a logistic regression, any other a ridge regression (least squares, as the
multi-head reward models of ENCORE and ArmoRM). Its figures are cross-validated with all answers to a prompt on one
side, and the regularisation is chosen inside each fold, so that they hold for prompts that were not seen.
"""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression, Ridge  # type: ignore[import-untyped]
from sklearn.metrics import r2_score, roc_auc_score  # type: ignore[import-untyped]
from sklearn.model_selection import GroupKFold  # type: ignore[import-untyped]

from mora_jobs import api
from mora_jobs.errors import UserError
from mora_jobs.models import fetch
from mora_jobs.models.digest import model_files
from mora_jobs.rewards.features import Embeddings, Floats, Part
from mora_jobs.rewards.heads import ENCODER_FOLDER, Head, write_heads
from mora_jobs.rewards.ratings import Ratings, read_ratings

DEFAULT_RECIPE = (Part.ANSWER, Part.PRODUCT, Part.COSINE)
STRENGTHS = tuple(10.0**power for power in range(-1, 5))  # of the penalty, on standardised features
FOLDS = 5
MIN_ROWS = 20
MAX_LEVELS = 101  # different ratings, as spec.rewards[].levels has at most
SMALLEST_DEVIATION = 1e-6  # of a feature that is used


@dataclass(frozen=True)
class HeadReport:
    """What was fitted. Logistic heads have `auc`; Regression heads `r2` and `pearson`; all on unseen prompts."""

    name: str
    kind: str
    rows: int
    prompts: int
    strength: float
    figures: Mapping[str, float]

    def __str__(self) -> str:
        figures = "  ".join(f"{name} {value:.3f}" for name, value in self.figures.items())
        return f"{self.name}  {self.kind}  {self.rows} rows  {self.prompts} prompts  {figures}"


@dataclass(frozen=True)
class Report:
    """All heads of a folder; `digest` is over its document."""

    folder: Path
    digest: str
    heads: tuple[HeadReport, ...]

    def __str__(self) -> str:
        return "\n".join([*map(str, self.heads), f"{self.folder}  {self.digest}"])


def fit_reward(
    ratings: Path,
    output: Path,
    encoder: api.ModelRef,
    heads: Sequence[str],
    *,
    features: Mapping[str, Sequence[Part]] | None = None,
    statements: Mapping[str, str] | None = None,
    prompt_field: str = "prompt",
    response_field: str = "response",
    copy_encoder: bool = True,
    seed: int = 0,
) -> Report:
    """Fit one head per column of `heads` in the file `ratings`, and write the heads folder `output`.

    `features` gives the recipe of a head other than DEFAULT_RECIPE. `statements` names the columns with reference
    statements ({"true": column, "false": column}) for heads whose recipe has Part.STATEMENTS. With `copy_encoder` a
    local encoder is copied into the folder, so that it can be moved; else it is referred to by its place relative to
    the folder. Encoders of other URIs are always referred to. The same file and seed give the same bytes.

    Raises UserError for a file or column that cannot be used; then nothing is written.
    """
    from mora_jobs.models.encoder import Encoder  # torch

    columns = {"true": "true", "false": "false"} | dict(statements or {})
    table = read_ratings(ratings, heads, prompt_field, response_field)
    for head in heads:
        _check(str(ratings), head, table)
    local = fetch(encoder)
    embeddings = Embeddings(Encoder(local.path), table.items, columns)
    recipes = {head: tuple((features or {}).get(head, DEFAULT_RECIPE)) for head in heads}
    fitted = [_fit(str(ratings), head, table, embeddings, recipes[head], seed) for head in heads]

    output.mkdir(parents=True, exist_ok=True)
    reference = _refer(encoder, local.path, output, copy_encoder) | {"digest": local.digest}
    digest = write_heads(output, [head for head, _ in fitted], reference, columns)
    return Report(output, digest, tuple(report for _, report in fitted))


def _check(where: str, head: str, table: Ratings) -> None:
    labels = table.labels[head]
    rated = ~np.isnan(labels)
    prompts = {item.prompt for item, there in zip(table.items, rated, strict=True) if there}
    if rated.sum() < MIN_ROWS or len(prompts) < FOLDS:
        raise UserError(
            where,
            f"{head!r} has {rated.sum()} ratings of {len(prompts)} prompts",
            f"at least {MIN_ROWS} of {FOLDS} prompts are needed",
        )
    if len(np.unique(labels[rated])) < 2:
        raise UserError(where, f"all ratings of {head!r} are {labels[rated][0]:g}: nothing to learn from")


def _fit(
    where: str, name: str, table: Ratings, embeddings: Embeddings, recipe: tuple[Part, ...], seed: int
) -> tuple[Head, HeadReport]:
    x, y = embeddings.features(recipe), table.labels[name]
    use = ~np.isnan(y) & ~np.isnan(x).any(axis=1)
    if use.sum() < MIN_ROWS:
        raise UserError(where, f"{use.sum()} rows have both a rating of {name!r} and what its features need")
    x, y = x[use], y[use]
    groups = np.unique(
        [item.prompt for item, used in zip(table.items, use, strict=True) if used], return_inverse=True
    )[1]
    task = LOGISTIC if set(np.unique(y)) <= {0.0, 1.0} else REGRESSION
    predicted = np.full(len(y), np.nan)
    for train, test in _folds(groups, seed):
        strength = _choose(task, x[train], y[train], groups[train], seed)
        predicted[test] = task.fit(strength, x[train], y[train]).predict(x[test])
    strength = _choose(task, x, y, groups, seed)
    linear = task.fit(strength, x, y)
    figures = {key: round(float(value), 6) for key, value in task.figures(y, predicted).items()}
    report = HeadReport(name, task.kind, len(y), int(groups.max()) + 1, strength, figures)
    quality = {"rows": report.rows, "prompts": report.prompts, "strength": strength, **figures, **_histogram(y)}
    return Head(name, task.kind, recipe, linear.weight, linear.bias, quality), report


def _histogram(y: Floats) -> dict[str, Any]:
    """How often each rating was given, for ENCORE's entropy; nothing where ratings are no levels."""
    levels, counts = np.unique(y, return_counts=True)
    if len(levels) > MAX_LEVELS:
        return {}
    return {"ratings": {"levels": levels.tolist(), "counts": counts.tolist()}}


@dataclass(frozen=True)
class Linear:
    """A linear function of the raw features."""

    weight: Floats
    bias: float

    def predict(self, x: Floats) -> Floats:
        return np.asarray(x @ self.weight + self.bias)


@dataclass(frozen=True)
class Task:
    """Logistic or regression: the estimator at a penalty, what its folds are compared by, and what is reported."""

    kind: str
    estimator: Callable[[float], Any]
    score: Callable[[Floats, Floats], float]
    figures: Callable[[Floats, Floats], dict[str, float]]

    def fit(self, strength: float, x: Floats, y: Floats) -> Linear:
        """Standardise and fit; the standardisation is folded into the weights."""
        mean, deviation = x.mean(axis=0), x.std(axis=0)
        # Encoders have dead dimensions (MiniLM: values of 1e-33), which standardisation would blow up.
        scale = np.where(deviation > SMALLEST_DEVIATION, deviation, np.inf)
        model = self.estimator(strength).fit((x - mean) / scale, y)
        weight = np.ravel(model.coef_) / scale
        return Linear(weight, float(np.ravel(model.intercept_)[0] - mean @ weight))


def _pearson(y: Floats, predicted: Floats) -> float:
    return float(np.corrcoef(y, predicted)[0, 1]) if np.ptp(predicted) > 0 else 0.0


LOGISTIC = Task(
    "Logistic",
    lambda strength: LogisticRegression(C=1.0 / strength, class_weight="balanced", max_iter=2000),
    lambda y, predicted: float(roc_auc_score(y, predicted)),
    lambda y, predicted: {"auc": float(roc_auc_score(y, predicted))},
)
REGRESSION = Task(
    "Regression",
    lambda strength: Ridge(alpha=strength),
    lambda y, predicted: float(r2_score(y, predicted)),
    lambda y, predicted: {"r2": float(r2_score(y, predicted)), "pearson": _pearson(y, predicted)},
)


def _folds(groups: Any, seed: int) -> list[tuple[Any, Any]]:
    count = min(FOLDS, len(np.unique(groups)))
    return list(GroupKFold(count, shuffle=True, random_state=seed).split(groups, groups=groups))


def _choose(task: Task, x: Floats, y: Floats, groups: Any, seed: int) -> float:
    """The penalty whose predictions for unseen prompts are best; the stronger one of equals.

    From the strongest down, until one is worse than the one before: weak penalties take most of the time to fit.
    """
    folds = [(train, test) for train, test in _folds(groups, seed) if len(np.unique(y[train])) > 1]
    best, best_score = STRENGTHS[-1], -np.inf
    for strength in reversed(STRENGTHS):
        predicted, truth = [], []
        for train, test in folds:
            predicted.append(task.fit(strength, x[train], y[train]).predict(x[test]))
            truth.append(y[test])
        score = task.score(np.concatenate(truth), np.concatenate(predicted)) if folds else 0.0
        if score <= best_score + 1e-9:
            break
        best, best_score = strength, score
    return best


def _refer(encoder: api.ModelRef, local: Path, output: Path, copy: bool) -> dict[str, str]:
    """How the document names the encoder."""
    if not encoder.uri.startswith("file://"):
        return {"uri": encoder.uri} | ({"revision": encoder.revision} if encoder.revision else {})
    if not copy:
        return {"folder": os.path.relpath(local.resolve(), output.resolve())}
    target = output / ENCODER_FOLDER
    if target.resolve() != local.resolve():
        shutil.rmtree(target, ignore_errors=True)
        for file in model_files(local):
            copy_of = target / file.relative_to(local)
            copy_of.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy_of)
    return {"folder": ENCODER_FOLDER}
