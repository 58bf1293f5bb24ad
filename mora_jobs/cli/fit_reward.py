"""`mora fit-reward`."""

import argparse
from typing import TYPE_CHECKING

from pydantic import ValidationError

from mora_jobs.api import ModelRef
from mora_jobs.errors import UserError

if TYPE_CHECKING:
    from mora_jobs.rewards.features import Part


def main(given: argparse.Namespace) -> int:
    if given.output.exists() and any(given.output.iterdir()):
        raise UserError(str(given.output), "is not empty", "choose a new folder")
    try:
        encoder = ModelRef(uri=given.encoder)
    except ValidationError as error:
        raise UserError("--encoder", f"{given.encoder}: {error.errors()[0]['msg']}") from None
    features = dict(_features(text, given.heads) for text in given.features)
    columns = given.statements.split(",")
    if len(columns) != 2 or not all(columns):
        raise UserError("--statements", f"{given.statements} is not two columns", "e.g. --statements true,false")
    from mora_jobs.rewards.fit import fit_reward

    report = fit_reward(
        given.ratings,
        given.output,
        encoder,
        given.heads,
        features=features,
        statements=dict(zip(("true", "false"), columns, strict=True)),
        prompt_field=given.prompt_field,
        response_field=given.response_field,
        seed=given.seed,
    )
    print(report)
    return 0


def _features(text: str, heads: list[str]) -> tuple[str, list["Part"]]:
    """HEAD=PART,... as the head and its recipe."""
    from mora_jobs.rewards.features import Part

    head, _, parts = text.partition("=")
    if head not in heads:
        raise UserError("--features", f"{head!r} is not among --heads", f"they are {', '.join(heads)}")
    known = {part.value: part for part in Part}
    unknown = [part for part in parts.split(",") if part not in known]
    if unknown:
        raise UserError(
            "--features", f"{unknown[0]!r} is no part of a feature vector", f"parts are {', '.join(known)}"
        )
    return head, [known[part] for part in parts.split(",")]
