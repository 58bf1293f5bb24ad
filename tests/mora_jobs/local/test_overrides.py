"""`--set`: what is set, and what is refused with which hint."""

import copy

import pytest

from mora_jobs.errors import UserError
from mora_jobs.local.overrides import Overrides

MANIFEST = {
    "kind": "RolloutJob",
    "metadata": {"name": "helpful"},
    "spec": {
        "sampling": {"seed": 17, "stop": ["a", "b"]},
        "rewards": [{"name": "helpful"}, {"name": "harmless", "scale": "LowerIsBetter"}],
    },
}


def changed(*texts: str) -> dict:
    document = copy.deepcopy(MANIFEST)
    overrides = Overrides(texts)
    overrides.change(document)
    overrides.check_used()
    return document["spec"]


@pytest.mark.parametrize(
    ("text", "look", "want"),
    [
        ("RolloutJob/helpful.spec.sampling.seed=18", lambda s: s["sampling"]["seed"], 18),
        ("rlj/helpful.spec.sampling.temperature=1e-1", lambda s: s["sampling"]["temperature"], 0.1),
        ("rolloutjobs/helpful.spec.isolation.reachThreshold=0.8", lambda s: s["isolation"], {"reachThreshold": 0.8}),
        ("rlj/helpful.spec.rewards[1].scale=HigherIsBetter", lambda s: s["rewards"][1]["scale"], "HigherIsBetter"),
        ("rlj/helpful.spec.rewards[harmless].levels=[1, 2]", lambda s: s["rewards"][1]["levels"], [1, 2]),
        ("rlj/helpful.spec.sampling.stop[1]=end", lambda s: s["sampling"]["stop"], ["a", "end"]),
        ("rlj/helpful.spec.sampling.seed=null", lambda s: "seed" in s["sampling"], False),
        (
            "rlj/helpful.spec.engine.extraArgs.max_num_seqs='8'",
            lambda s: s["engine"]["extraArgs"],
            {"max_num_seqs": "8"},
        ),
        ("rlj/helpful.spec.prompts.uri=file://a=b.jsonl", lambda s: s["prompts"]["uri"], "file://a=b.jsonl"),
        ("rlj/helpful.spec.suspend=true", lambda s: s["suspend"], True),
    ],
)
def test_a_member_is_set_with_the_type_that_the_manifest_would_give_it(text, look, want):
    got = look(changed(text))
    assert got == want
    assert type(got) is type(want)


def test_several_are_applied_in_order():
    spec = changed("rlj/helpful.spec.sampling={}", "rlj/helpful.spec.sampling.seed=3")
    assert spec["sampling"] == {"seed": 3}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("seed=3", "is not of the form KIND/NAME.spec.path=value"),
        ("rlj/helpful.spec.sampling.seed", "is not of the form KIND/NAME.spec.path=value"),
        ("rlj/helpful.metadata.name=x", "only members of spec can be set"),
        ("rlj/helpful.spec=x", "only members of spec can be set"),
        ("rlj/helpful.spec..seed=x", "cannot read the path"),
        ("rlj/helpful.spec.rewards[=x", "cannot read the path"),
        ("RoloutJob/helpful.spec.suspend=true", "did you mean RolloutJob?"),
        ("rlj/helpfull.spec.suspend=true", "there is no RolloutJob/helpfull; did you mean RolloutJob/helpful?"),
        ("rlj/helpful.spec.sampling.sed=3", "spec.sampling.sed does not exist; did you mean seed?"),
        ("rlj/helpful.spec.samplng.seed=3", "spec.samplng does not exist; did you mean sampling?"),
        ("rlj/helpful.spec.rewards[harmles].scale=x", "spec.rewards[harmles] does not exist; did you mean harmless?"),
        ("rlj/helpful.spec.rewards[2].scale=x", "the list has 2 elements"),
        ("rlj/helpful.spec.sampling[0]=x", "there is no list in the manifest"),
        ("rlj/helpful.spec.sampling.seed.more=x", "its parent is not an object"),
        ("rlj/helpful.spec.sampling.seed=[1", "the value is not YAML"),
    ],
)
def test_what_cannot_be_set_is_refused_with_the_nearest_name(text, line):
    with pytest.raises(UserError) as refusal:
        changed(text)
    assert str(refusal.value).startswith(f"--set {text}: ")
    assert line in str(refusal.value)
