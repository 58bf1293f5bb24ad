"""Experiments at the edges: one of everything, much of everything, and figures that are not there."""

import re
from typing import Any

import pytest
from invented import PROMPTS, REWARDS, Experiment
from page_reader import Read, read

from mora_jobs.artifacts.document import read_json, write_json
from mora_jobs.artifacts.store import Store
from mora_jobs.report import write

LONG = "concise-and-clear-in-every-language-there-is"
FIVE = ("helpful", "harmless", "truthful", LONG, "e")


def report(experiment: Experiment) -> Read:
    target = write(experiment.folder)
    page = read(target)
    assert all(image["alt"] for image in page.all("img"))
    # Between tags, not in words such as finance or in the YAML of the settings.
    assert re.findall(r">\s*(?:nan|None|inf|-inf)\b(?! of)[^<]*<", target.read_text(encoding="utf-8")) == []
    return page


@pytest.mark.parametrize(
    ("prompts", "rewards", "samples", "missing"),
    [
        (1, 1, 1, 0.0),  # nothing can be estimated
        (1, 3, 8, 0.0),  # no interval
        (6, 1, 4, 0.0),  # nothing to isolate
        (5, 2, 3, 0.7),  # few prompts have a complete rollout
        (12, 5, 4, 0.1),
    ],
)
def test_rollouts_of_any_size(
    experiment: Experiment, prompts: int, rewards: int, samples: int, missing: float
) -> None:
    experiment.rollout(PROMPTS[:prompts], FIVE[:rewards], samples, missing=missing)
    page = report(experiment)
    assert sum("Histogram of reward" in image["alt"] for image in page.all("img")) == rewards
    if rewards == 1:
        assert "With one reward there is nothing to isolate" in page.text


def test_long_and_foreign_texts(experiment: Experiment) -> None:
    prompts = [
        "Ж" * 5000,
        "e\u0301 \U0001f468\u200d\U0001f469\u200d\U0001f467 \u202eturned",
        "a\x00b\x1b[31mc",
        "مرحبا بالعالم",
    ]
    experiment.rollout(prompts, REWARDS[:2], 4, texts=["", " \n", "x" * 9000, "مرحبا"], missing=0.2)
    page = report(experiment)
    assert "Ж" * 1600 + "… (3,400 more characters)" in page.text
    assert "\U0001f468\u200d\U0001f469\u200d\U0001f467 ⟨U+202E⟩turned" in page.text
    assert "abc" in page.text
    assert "(empty)" in page.text


def test_without_single_reward_prompts_nothing_is_rewritten(experiment: Experiment) -> None:
    experiment.rollout(PROMPTS[:4], samples=4, isolation={"criterion": "Level", "reachThreshold": 0.0})
    experiment.rewrite()
    page = report(experiment)
    assert "can earn one reward only under these thresholds." in page.text
    assert "There was no single-reward prompt to rewrite." in page.text


@pytest.mark.parametrize(("control", "accepted", "said"), [
    ("DropOnly", 4, "left out, none rewritten (control DropOnly)"),
    ("Paraphrase", 0, "0 of 9 prompts got a rewrite"),
])  # fmt: skip
def test_no_rewrite_at_all(experiment: Experiment, control: str, accepted: int, said: str) -> None:
    experiment.rollout(PROMPTS)
    experiment.rewrite(accepted, control=control)
    page = report(experiment)
    assert said in page.text
    assert f"control {control}" in page.text
    assert "Prompts and their rewrites" not in page.text


@pytest.mark.parametrize(
    ("objectives", "points", "prompts", "charts"),
    [
        (REWARDS[:1], 1, 1, 0),  # no front
        (REWARDS[:2], 1, 3, 1),
        (REWARDS, 64, 6, 5),  # three planes, space, parallel axes
        (FIVE, 12, 4, 5),  # the first objective against each other one, parallel axes
    ],
)
def test_fronts_of_any_size(
    experiment: Experiment, objectives: tuple[str, ...], points: int, prompts: int, charts: int
) -> None:
    experiment.alignment(objectives, points, prompts=prompts, steps=0, names=["n" * 63])
    page = report(experiment)
    assert sum(f"{points + 1} policies " in image["alt"] for image in page.all("img")) == charts
    assert page.text.count("point-") >= points - 1


def test_figures_that_are_not_there_are_dashes(experiment: Experiment) -> None:
    """null in artifacts and nan in a status are shown, and drawn, as what they are: unknown."""
    job = experiment.alignment(REWARDS[:2], 3, steps=0)
    store = Store(job.spec.output.uri)
    document: dict[str, Any] = read_json(store, "pareto.json")
    document["points"][1]["values"]["helpful"] = None
    document["points"][2] |= {"contribution": None, "weights": {}}
    document["curve"] = [{"training": "a", "step": 1, "values": {"helpful": None}}]
    write_json(store, "pareto.json", document)
    thing = experiment.place.objects()["AlignmentJob/soup"]
    thing["status"]["objectives"][0] |= {"before": "nan", "after": "inf", "points": "nan", "ci": []}
    experiment.place.write_status(thing)
    page = report(experiment)
    assert page.text.count("–") >= 4
    assert not any("policies by" in image["alt"] for image in page.all("img"))


def test_gains_without_intervals_are_not_called_proven(experiment: Experiment) -> None:
    experiment.rollout(PROMPTS)
    job = experiment.rewrite(1)
    store = Store(job.spec.output.uri)
    document = read_json(store, "gains.json")
    assert document is not None
    document["accepted"]["changes"]["balance"]["difference"] |= {"low": -0.2, "high": 0.3}
    document["accepted"]["changes"]["joint"] = {
        "before": None, "after": None, "difference": {"value": None, "low": None, "high": None, "prompts": 0},
    }  # fmt: skip
    write_json(store, "gains.json", document)
    text = report(experiment).text
    assert "[−0.200, +0.300]" in text
    assert "The interval holds 0: no gain is shown." in text


def test_stages_show_what_was_forgotten(experiment: Experiment) -> None:
    experiment.alignment(REWARDS[:2], sequential=True, steps=0)
    page = report(experiment)
    assert "Forgetting matrix" in page.text
    forgetting = next(image["alt"] for image in page.all("img") if "before training and after" in image["alt"])
    assert "after helpful, after harmless" in forgetting


def test_pairs_say_who_wrote_them_and_how_well_a_probe_tells_their_sides_apart(experiment: Experiment) -> None:
    experiment.alignment(REWARDS[:2], 2, steps=0)
    text = " ".join(report(experiment).text.split())
    assert "Who wrote the two sides: both the model that is aligned (48), different models (24)." in text
    assert "helpfulshortcut?400.953" in text
    assert "harmless400.553" in text
    assert "0.5 is chance. Near 1, training can learn what the probe sees" in text
