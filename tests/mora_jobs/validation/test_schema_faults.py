"""One document at a time: good ones pass, bad ones are refused in exact words that name the field."""

import json
from pathlib import Path

import pytest
from manifest_table import GOOD, Bad, bad, minimal

from mora_jobs.validation import check, load

BAD = list(bad())


@pytest.mark.parametrize("entry", BAD, ids=lambda entry: entry.id)
def test_a_bad_manifest_gets_one_line_that_names_the_field(entry: Bad, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(json.dumps(entry.document))
    faults = load([file])[0].faults
    kind, name = entry.document["kind"], entry.document["metadata"]["name"]
    assert [str(fault) for fault in faults] == [f"{file}: {kind}/{name}: {entry.path}: {entry.says}"]
    assert load([file])[0].job is None


def test_there_are_enough_bad_manifests() -> None:
    assert len({entry.path for entry in BAD}) >= 60


@pytest.mark.parametrize("file", sorted(GOOD.iterdir()), ids=lambda file: file.name)
def test_a_good_manifest_has_no_fault(file: Path) -> None:
    assert [str(fault) for each in load([file]) for fault in each.faults] == []


def test_good_manifests_go_together() -> None:
    assert [str(fault) for fault in check(load([GOOD]))] == []


def test_several_faults_are_all_told(tmp_path: Path) -> None:
    document = minimal()["RolloutJob"]
    document["spec"]["sampling"] = {"topK": -1, "tempreature": 1}
    del document["spec"]["model"]
    (tmp_path / "bad.yaml").write_text(json.dumps(document))
    faults = load([tmp_path])[0].faults
    assert sorted(fault.path for fault in faults) == ["spec.model", "spec.sampling.tempreature", "spec.sampling.topK"]


def test_a_null_member_is_an_absent_one(tmp_path: Path) -> None:
    document = minimal()["RolloutJob"]
    document["spec"] |= {
        "replicas": None,
        "suspend": None,
        "sampling": {"stop": None},
        "autoscaling": {"maxReplicas": 3},
    }
    (tmp_path / "null.yaml").write_text(json.dumps(document))
    job = load([tmp_path])[0].job
    assert job is not None
    assert job.spec.suspend is False


def test_a_status_is_not_looked_at(tmp_path: Path) -> None:
    document = minimal()["RolloutJob"] | {"status": {"phase": "Nonsense"}}
    (tmp_path / "status.yaml").write_text(json.dumps(document))
    assert load([tmp_path])[0].faults == ()
