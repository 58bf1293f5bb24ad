"""The probe that tells preferred responses from the others by their surface, and who wrote the sides of the pairs."""

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from align_jobs import WORDS

from mora_jobs.align.separability import FOLDS, LEAST_PAIRS, MOST_PAIRS, Contrast, contrasts, separability

ENDING = "I hope this helps!"


def said(chance: random.Random, least: int = 4) -> str:
    return " ".join(chance.choices(WORDS, k=chance.randrange(least, least + 12)))


def made(count: int, preferred: Callable[[random.Random], str] = said, seed: int = 1) -> list[Contrast]:
    """Pairs of random words, two for each prompt."""
    chance = random.Random(seed)
    return [Contrast(f"p{index}", f"q{index // 2}", preferred(chance), said(chance)) for index in range(count)]


@pytest.mark.parametrize(
    "preferred",
    [
        lambda chance: f"{said(chance)} {ENDING}",
        lambda chance: f"Sure! {said(chance)}",
        lambda chance: said(chance, 30),
        lambda chance: said(chance).title(),
        lambda chance: "".join(chance.choices("这是一个很好的回答", k=12)),
        lambda chance: f"{said(chance, 400)} {ENDING}",
    ],
    ids=["a closing phrase", "an opening", "length", "capitals", "another script", "the end of a long text"],
)
def test_a_shortcut_is_seen(preferred):
    found = separability(made(100, preferred), seed=0)
    assert found.auc > 0.97
    assert found.pairs == 100


def test_sides_of_one_kind_look_alike():
    aucs = [separability(made(200, seed=seed), seed=seed).auc for seed in range(4)]
    assert all(0.35 < auc < 0.65 for auc in aucs)
    assert abs(sum(aucs) / len(aucs) - 0.5) < 0.06


def test_what_tells_the_sides_apart_on_its_own_prompt_only_is_no_shortcut():
    """Each side of a prompt has a word of its own: a probe that had seen the prompt would know it."""
    chance = random.Random(2)
    pairs = []
    for one, two in zip(*[iter(made(80))] * 2, strict=True):
        good, bad = ("".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=20)) for _ in range(2))
        pairs += [replace(each, preferred=good, other=bad) for each in (one, two)]
    leaky = [replace(pair, prompt=pair.id) for pair in pairs]
    assert 0.35 < separability(pairs, seed=0).auc < 0.65
    assert separability(leaky, seed=0).auc > 0.8


def test_the_other_side_is_told_as_well_as_this():
    pairs = made(40, lambda chance: f"{said(chance)} {ENDING}")
    swapped = [replace(pair, preferred=pair.other, other=pair.preferred) for pair in pairs]
    assert separability(pairs, seed=0).auc == pytest.approx(separability(swapped, seed=0).auc, abs=0.02)


def test_the_seed_alone_decides():
    pairs = made(60)
    assert separability(pairs, seed=3) == separability(pairs, seed=3)
    assert separability(pairs, seed=3) != separability(pairs, seed=4)


@pytest.mark.parametrize(
    "pairs",
    [
        [],
        made(LEAST_PAIRS - 1),
        [replace(pair, prompt=f"q{index % (FOLDS - 1)}") for index, pair in enumerate(made(40))],
    ],
    ids=["no pair", "too few pairs", "too few prompts"],
)
def test_too_little_gives_none(pairs):
    assert separability(pairs, seed=0) is None


def rows(count: int, *signs: list[int]) -> list[dict[str, object]]:
    return [
        {
            "id": f"p{index}",
            "messages": f"q{index}",
            "chosen": "yes",
            "rejected": "no",
            "signs": signs[index % len(signs)],
        }
        for index in range(count)
    ]


def test_an_objective_sees_the_pairs_that_are_about_it_and_its_own_preferred_side_first():
    given = rows(4, [1, 0], [1, -1])
    assert [(each.preferred, each.other) for each in contrasts(given, 2, seed=0)[0]] == [("yes", "no")] * 4
    assert {(each.id, each.preferred) for each in contrasts(given, 2, seed=0)[1]} == {("p1", "no"), ("p3", "no")}


def test_of_many_pairs_the_same_sample_is_taken_in_any_order():
    given = rows(MOST_PAIRS + 500, [1])
    one = contrasts(given, 1, seed=0)[0]
    assert len(one) == MOST_PAIRS
    assert contrasts(given[::-1], 1, seed=0)[0] == one
    assert {each.id for each in contrasts(given, 1, seed=1)[0]} != {each.id for each in one}
