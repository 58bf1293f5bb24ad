"""A folder belongs to one experiment; another one is told what differs."""

import json
import threading
from typing import Any

import pytest

from mora_jobs.artifacts.document import read_json, write_json
from mora_jobs.artifacts.identity import claim, complete, differences, is_claimed, is_complete, without_secrets
from mora_jobs.artifacts.store import Store
from mora_jobs.errors import UserError

IDENTITY: dict[str, Any] = {
    "kind": "RolloutJob",
    "spec": {"sampling": {"temperature": 1.0, "maxTokens": 64}, "rewards": [{"name": "helpful"}, {"name": "safe"}]},
    "model": {"digest": "sha256:1"},
}


def changed(**paths: Any) -> dict[str, Any]:
    copy = json.loads(json.dumps(IDENTITY))
    for path, value in paths.items():
        *folders, name = path.split("__")
        target = copy
        for folder in folders:
            target = target[folder]
        if value is None:
            del target[name]
        else:
            target[name] = value
    return copy


@pytest.mark.parametrize("policy", ["Resume", "Fail", "Overwrite"])
def test_an_empty_store_is_claimed(store: Store, policy: Any) -> None:
    claim(store, IDENTITY, policy)
    assert read_json(store, "job.json")["identity"] == IDENTITY
    assert is_claimed(store)


@pytest.mark.parametrize(
    ("policy", "first", "second", "outcome"),
    [
        ("Resume", "uid-1", "uid-1", "goes on"),
        ("Resume", "uid-1", "uid-2", "goes on"),
        ("Resume", None, None, "goes on"),
        ("Fail", "uid-1", "uid-1", "goes on"),  # the second attempt of one job
        ("Fail", "uid-1", "uid-2", "refused"),
        ("Fail", None, None, "refused"),
        ("Overwrite", "uid-1", "uid-1", "goes on"),
        ("Overwrite", "uid-1", "uid-2", "afresh"),
        ("Overwrite", None, None, "afresh"),
    ],
)
def test_an_equal_experiment(store: Store, policy: Any, first: str | None, second: str | None, outcome: str) -> None:
    claim(store, IDENTITY, policy, first)
    store.write("rollouts/part", b"work")
    complete(store, {"rollouts": "sha256:2"})
    if outcome == "refused":
        with pytest.raises(UserError, match="already holds this experiment"):
            claim(store, IDENTITY, policy, second)
    else:
        claim(store, json.loads(json.dumps(IDENTITY)), policy, second)
    assert store.exists("rollouts/part") == (outcome != "afresh")
    assert is_complete(store) == (None if outcome == "afresh" else {"rollouts": "sha256:2"})
    assert store.exists("job.json")


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (changed(spec__sampling__temperature=0.7), "spec.sampling.temperature (1.0 there, 0.7 here)"),
        (changed(spec__sampling__maxTokens=None), "spec.sampling.maxTokens (64 there, nothing here)"),
        (changed(spec__sampling__topP=0.9), "spec.sampling.topP (nothing there, 0.9 here)"),
        (
            changed(spec__rewards=[{"name": "helpful"}, {"name": "kind"}]),
            'spec.rewards[1].name ("safe" there, "kind" here)',
        ),
        (changed(spec__rewards=[{"name": "helpful"}]), "spec.rewards ("),
        (changed(model__digest="sha256:2"), 'model.digest ("sha256:1" there, "sha256:2" here)'),
        (changed(spec__sampling__maxTokens=True), "spec.sampling.maxTokens (64 there, true here)"),
    ],
)
@pytest.mark.parametrize("policy", ["Resume", "Fail"])
def test_another_experiment_is_told_what_differs(store: Store, policy: Any, other: dict[str, Any], says: str) -> None:
    claim(store, IDENTITY, policy, "uid")
    before = {path: store.read(path) for path in store.list()}
    with pytest.raises(UserError) as error:
        claim(store, other, policy, "uid")
    assert says in str(error.value)
    assert "overwritePolicy" in str(error.value)
    assert "\n" not in str(error.value)
    assert {path: store.read(path) for path in store.list()} == before


def test_one_and_one_point_nought_are_equal(store: Store) -> None:
    claim(store, {"temperature": 1}, "Resume")
    claim(store, {"temperature": 1.0}, "Resume")


def test_many_differences_are_counted(store: Store) -> None:
    claim(store, {str(number): number for number in range(9)}, "Resume")
    with pytest.raises(UserError, match="and 4 more"):
        claim(store, {str(number): -number - 1 for number in range(9)}, "Resume")


def test_a_strangers_folder_is_never_touched(store: Store) -> None:
    store.write("thesis.tex", b"years of work")
    with pytest.raises(UserError, match=r"holds no job\.json"):
        claim(store, IDENTITY, "Overwrite")
    assert store.list() == ["thesis.tex"]
    assert not is_claimed(store)


def test_overwriting_that_was_cut_off_goes_on(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    claim(store, IDENTITY, "Overwrite", "uid-1")
    for name in ("a", "b", "c"):
        store.write(name, b"old")
    complete(store, {})
    delete, calls = store.delete, []

    def dies_at_the_third(path: str) -> None:
        calls.append(path)
        if len(calls) == 3:
            raise KeyboardInterrupt
        delete(path)

    monkeypatch.setattr(store, "delete", dies_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        claim(store, changed(model__digest="new"), "Overwrite", "uid-2")
    monkeypatch.undo()
    assert is_complete(store) is None
    with pytest.raises(UserError, match="another experiment"):
        claim(store, changed(model__digest="new"), "Resume", "uid-2")
    claim(store, changed(model__digest="new"), "Overwrite", "uid-2")
    assert store.list() == ["job.json"]


def test_of_two_claims_at_once_one_is_refused(store: Store) -> None:
    outcomes: list[str] = []
    start = threading.Barrier(4)

    def attempt(number: int) -> None:
        start.wait()
        try:
            claim(store, {"experiment": number}, "Resume")
            outcomes.append("claimed")
        except UserError as error:
            outcomes.append("refused" if "another experiment" in str(error) else str(error))

    threads = [threading.Thread(target=attempt, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["claimed", "refused", "refused", "refused"]


SECRETS = {
    "judge": {
        "apiKey": "sk-1",
        "baseURL": "https://x",
        "maxTokens": 5,
        "padToken": "<pad>",
        "credentialsRef": {"name": "n"},
    },
    "env": [{"name": "HF_TOKEN", "value": "hf-2"}, {"name": "OMP_NUM_THREADS", "value": "1"}],
    "AWS_SECRET_ACCESS_KEY": "aws-3",
    "password": "pw-4",
    "db_password": "pw-5",
    "tokenizer": "gpt2",
    "token": "t-6",
}


def test_secrets_are_neither_stored_nor_shown(store: Store) -> None:
    claim(store, SECRETS, "Resume")
    text = store.read("job.json").decode()
    assert not [secret for secret in ("sk-1", "hf-2", "aws-3", "pw-4", "pw-5", "t-6") if secret in text]
    assert all(
        public in text for public in ("https://x", "maxTokens", "<pad>", "OMP_NUM_THREADS", "gpt2", "credentialsRef")
    )
    claim(store, {**SECRETS, "token": "another"}, "Resume")  # a new token is no other experiment
    with pytest.raises(UserError) as error:
        claim(store, {**SECRETS, "password": "pw-7", "tokenizer": "t5"}, "Resume")
    assert "pw-" not in str(error.value)
    assert "tokenizer" in str(error.value)


def test_differences_of_equal_values_are_none() -> None:
    assert list(differences(IDENTITY, changed())) == []
    assert without_secrets(IDENTITY) == IDENTITY


@pytest.mark.parametrize("value", [{}, {"b": 1, "a": [1.5, None, True]}, "text", [], "ñ 数"])
def test_documents_come_back(store: Store, value: Any) -> None:
    write_json(store, "doc/x.json", value)
    assert read_json(store, "doc/x.json") == value
    assert read_json(store, "absent.json") is None


def test_equal_documents_are_equal_bytes(store: Store) -> None:
    write_json(store, "a", {"x": 1, "y": {"b": 1, "a": 2}})
    write_json(store, "b", {"y": {"a": 2, "b": 1}, "x": 1})
    assert store.read("a") == store.read("b")


def test_documents_hold_numbers_only(store: Store) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(store, "a", {"x": float("nan")})
    assert store.list() == []


def test_a_damaged_document_is_named(store: Store) -> None:
    store.write("x.json", b'{"cut of')
    with pytest.raises(UserError, match=r"x\.json: is damaged"):
        read_json(store, "x.json")
