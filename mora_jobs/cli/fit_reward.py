"""`mora fit-reward`."""

import argparse

from pydantic import ValidationError

from mora_jobs.api import ModelRef
from mora_jobs.errors import UserError


def main(given: argparse.Namespace) -> int:
    if given.output.exists() and any(given.output.iterdir()):
        raise UserError(str(given.output), "is not empty", "choose a new folder")
    try:
        encoder = ModelRef(uri=given.encoder)
    except ValidationError as error:
        raise UserError("--encoder", f"{given.encoder}: {error.errors()[0]['msg']}") from None
    from mora_jobs.rewards.fit import fit_reward

    report = fit_reward(
        given.ratings,
        given.output,
        encoder,
        given.heads,
        prompt_field=given.prompt_field,
        response_field=given.response_field,
        seed=given.seed,
    )
    print(report)
    return 0
