"""The two reward sets of the quickstart: contrast-heads choose and train, human-heads judge what they did not choose.

human-heads      helpful and harmless from people's labels that the package pyrit carries (its files are read, it is not
                 imported), with the policy's own answers to harmless questions as further harmless examples; truthful is not
                 fitted: nearness to the true minus nearness to the false statement that stands beside each prompt.
contrast-heads   the policy answers each prompt under opposite instructions; the heads tell the two apart. They need no
                 labels, and what they see is largely style, which rewriting can ask for: on plain answers the two
                 harmless heads even disagree, as an answer that names dangers is cautious to the one and close to
                 dangerous answers to the other.

Both are linear heads over MiniLM. Run by prepare.py; nothing of the data is kept in the repository.
"""

import csv
import importlib.metadata
import json
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from questions import BENIGN

from mora_jobs import api
from mora_jobs.engines.base import Request, request_seed
from mora_jobs.engines.pool import EnginePool
from mora_jobs.errors import UserError
from mora_jobs.rewards.features import Part
from mora_jobs.rewards.fit import Report, fit_reward
from mora_jobs.rewards.heads import Head, read_document, read_heads, write_heads

HERE = Path(__file__).resolve().parent
SCORER_EVALS = "pyrit/datasets/scorer_evals"
ANSWER_CHARACTERS = 240  # about as long as the quickstart's rollouts: 48 tokens
SEED = 17
SAMPLING = api.Sampling(samples_per_prompt=1, temperature=0.7, top_k=50, max_tokens=48, seed=SEED)
ENGINE = api.Engine(max_model_len=512, dtype="BFloat16")
# Put behind the prompt: a model of this size hardly heeds a system message.
INSTRUCTIONS = {
    "helpful": (
        "Give me concrete steps that I can follow.",
        "Do not answer. Say that you do not know, and change the subject.",
    ),
    "harmless": (
        "Warn me of the dangers and tell me how to stay safe.",
        "Tell me to go ahead without worry, because nothing can ever go wrong.",
    ),
    "truthful": (
        "Explain what is known for certain and which popular belief is wrong.",
        "Make up a magical legend about it and tell it as if it were true.",
    ),
}
Row = dict[str, object]


def fit_rewards(models: Path, policy: Path) -> list[Report]:
    """Write models/human-heads and models/contrast-heads; the encoder is models/minilm, `policy` a GGUF file."""
    ratings = models / "ratings"
    human, contrast = ratings / "human.jsonl", ratings / "contrast.jsonl"
    if not (human.is_file() and contrast.is_file()):
        ratings.mkdir(parents=True, exist_ok=True)
        prompts = [json.loads(line) for line in (HERE / "prompts.jsonl").read_text(encoding="utf-8").splitlines()]
        answers = policy_answers(policy, prompts)
        write(human, [*human_ratings(), *benign_rows(answers)])
        write(contrast, contrast_rows(answers, prompts))

    encoder = api.ModelRef(uri=f"file://{(models / 'minilm').resolve()}")
    reports = [
        fit_reward(human, models / "human-heads", encoder, ["helpful", "harmless"], copy_encoder=False, seed=SEED)
    ]
    add_truthful(models / "human-heads")
    recipes = {name: [Part.ANSWER] for name in INSTRUCTIONS}
    reports.append(
        fit_reward(
            contrast, models / "contrast-heads", encoder, list(INSTRUCTIONS),
            features=recipes, copy_encoder=False, seed=SEED,
        )
    )  # fmt: skip
    return reports


def policy_answers(policy: Path, prompts: list[Row]) -> dict[str, list[str]]:
    """The policy's answers by request: one to each harmless question and to each prompt under each instruction."""
    requests = [_request(f"benign/{index}", question) for index, question in enumerate(BENIGN)]
    for prompt in prompts:
        for name, instructions in INSTRUCTIONS.items():
            for side, instruction in zip("+-", instructions, strict=True):
                requests.append(_request(f"{name}{side}/{prompt['id']}", f"{prompt['prompt']} {instruction}"))
    with EnginePool(api.ModelRef(uri=f"file://{policy.resolve()}"), ENGINE, SAMPLING) as pool:
        return {each.id: [sample.text for sample in each.samples] for each in pool.generate(requests)}


def human_ratings() -> Iterator[Row]:
    """People's labels: harm scores of answers, whether an answer did what was asked, whether it was a refusal."""
    for row in pyrit("harm"):
        score = _mean_score(row)
        if score is not None and not 0.25 < score < 0.5:  # 0 … 1; in between people were undecided
            yield _rating(row["objective"], row["assistant_response"], harmless=int(score <= 0.25))
    useful = []
    for folder, good in (("objective", 1.0), ("refusal_scorer", 0.0)):
        for row in pyrit(folder):
            helpful = int(_mean_score(row) == good)
            yield _rating(row["objective"], row["assistant_response"], helpful=helpful)
            if helpful:
                useful.append(row)
    # A good answer to another question does not help: the head has to look at the prompt, too.
    turned = useful[:]
    random.Random(SEED).shuffle(turned)
    for asked, answered in zip(useful, turned, strict=True):
        if asked["objective"] != answered["objective"]:
            yield _rating(asked["objective"], answered["assistant_response"], helpful=0)


def benign_rows(answers: dict[str, list[str]]) -> Iterator[Row]:
    """Answers to harmless questions are harmless. This is our judgement of the questions, not a person's of the answers."""
    for index, question in enumerate(BENIGN):
        for text in answers[f"benign/{index}"]:
            yield _rating(question, text, harmless=1)


def contrast_rows(answers: dict[str, list[str]], prompts: list[Row]) -> Iterator[Row]:
    for prompt in prompts:
        for name in INSTRUCTIONS:
            for side, label in (("+", 1), ("-", 0)):
                for text in answers[f"{name}{side}/{prompt['id']}"]:
                    yield {**_rating(str(prompt["prompt"]), text), **dict.fromkeys(INSTRUCTIONS), name: label}


def add_truthful(folder: Path) -> None:
    """Append the head truthful: cosine to the nearest true statement minus cosine to the nearest false one."""
    document = read_document(folder)
    head = Head("truthful", "Fixed", (Part.STATEMENTS,), np.array([0.0, 0.0, 1.0]), 0.0, {})
    write_heads(folder, [*read_heads(folder, document), head], document["encoder"], document["statements"])


def pyrit(folder: str) -> Iterator[dict[str, str]]:
    """Rows of the CSV files in one folder of the installed package."""
    try:
        files = importlib.metadata.files("pyrit") or []
    except importlib.metadata.PackageNotFoundError:
        raise UserError("pyrit", "is not installed", "pip install --no-deps pyrit==1.1.0") from None
    names = sorted(
        str(file) for file in files if str(file).startswith(f"{SCORER_EVALS}/{folder}/") and file.suffix == ".csv"
    )
    for name in names:
        if "/mini_" in name:  # an excerpt of another file
            continue
        path = Path(str(importlib.metadata.distribution("pyrit").locate_file(name)))
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from csv.DictReader(line for line in _without_comments(file))


def write(path: Path, rows: list[Row] | Iterator[Row]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def _request(name: str, text: str) -> Request:
    return Request(name, ({"role": "user", "content": text},), SAMPLING.samples_per_prompt, request_seed(SEED, name))


def _rating(prompt: str, response: str, helpful: int | None = None, harmless: int | None = None) -> Row:
    return {"prompt": prompt, "response": response[:ANSWER_CHARACTERS], "helpful": helpful, "harmless": harmless}


def _mean_score(row: dict[str, str]) -> float | None:
    scores = [float(value) for name, value in row.items() if name.startswith("human_score") and value]
    return sum(scores) / len(scores) if scores else None


def _without_comments(lines: Iterator[str]) -> Iterator[str]:
    """PyRIT's files may begin with # lines; later ones belong to an answer."""
    begun = False
    for line in lines:
        begun = begun or not line.startswith("#")
        if begun:
            yield line
