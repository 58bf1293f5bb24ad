"""Prompt files of strangers: what is read, and what is refused with which line."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mora_jobs import api
from mora_jobs.errors import UserError
from mora_jobs.generation.prompts import digest_prompts, read_prompts

JOB = api.RolloutJob.model_validate(
    {
        "metadata": {"name": "reading"},
        "spec": {
            "model": {"uri": "file:///model"},
            "prompts": {"uri": "file:///prompts.jsonl"},
            "rewards": [{"name": "length", "python": {"callable": "m:f"}}],
            "output": {"uri": "file:///out"},
        },
    }
)
RESOLVED = api.ResolvedJob(job=JOB)


def read(file: Path, **spec: object) -> list:
    return list(read_prompts(api.Prompts.model_validate({"uri": f"file://{file}", **spec}), RESOLVED))


def write(tmp_path: Path, *lines: object) -> Path:
    file = tmp_path / "prompts.jsonl"
    file.write_bytes(
        b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines)
    )
    return file


def test_other_columns_are_kept_and_ids_may_be_numbers(tmp_path: Path) -> None:
    file = write(tmp_path, {"id": 7, "prompt": "Why?", "topic": "maths", "refs": ["a", "b"]}, b"\n")
    (prompt,) = read(file)
    assert (prompt.id, prompt.text, prompt.fields) == ("7", "Why?", {"topic": "maths", "refs": ["a", "b"]})
    assert prompt.messages == ({"role": "user", "content": "Why?"},)


def test_field_names_of_ones_own_and_a_system_prompt(tmp_path: Path) -> None:
    file = write(tmp_path, {"key": "a", "frage": "Wie geht’s? 🙂 你好"})
    (prompt,) = read(file, idField="key", promptField="frage", systemPrompt="Be brief.")
    assert prompt.text == "Wie geht’s? 🙂 你好"
    assert [turn["role"] for turn in prompt.messages] == ["system", "user"]


def test_a_chat_is_a_prompt_and_its_last_turn_is_replaced_by_a_rewrite(tmp_path: Path) -> None:
    chat = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Why?"},
    ]
    (prompt,) = read(write(tmp_path, {"id": "a", "prompt": chat}))
    assert prompt.text == "Why?"
    assert prompt.with_text("How?").messages == (*chat[:2], {"role": "user", "content": "How?"})


def test_limit_stops_before_a_bad_line(tmp_path: Path) -> None:
    file = write(tmp_path, {"id": "a", "prompt": "1"}, {"id": "b", "prompt": "2"}, b"{broken\n")
    assert [prompt.id for prompt in read(file, limit=2)] == ["a", "b"]


def test_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    assert read(write(tmp_path, b'\xef\xbb\xbf{"id": "a", "prompt": "x"}\n'))[0].id == "a"


def test_csv(tmp_path: Path) -> None:
    file = tmp_path / "prompts.csv"
    file.write_text('id,prompt,topic\na,"two\nlines",x\nb,Why?,y\n')
    assert [(p.id, p.text, p.fields) for p in read(file, format="CSV")] == [
        ("a", "two\nlines", {"topic": "x"}),
        ("b", "Why?", {"topic": "y"}),
    ]


def test_parquet_file_and_folder_with_split(tmp_path: Path) -> None:
    for split in ("train", "test"):
        pq.write_table(pa.table({"id": [f"{split}-1"], "prompt": [split]}), tmp_path / f"{split}-0.parquet")
    assert [p.id for p in read(tmp_path / "test-0.parquet", format="Parquet")] == ["test-1"]
    assert [p.id for p in read(tmp_path, format="Parquet", split="train")] == ["train-1"]


BAD = {
    "empty file": ([], "there is no prompt in it"),
    "blank lines only": ([b"\n \n"], "there is no prompt in it"),
    "not JSON": ([{"id": "a", "prompt": "x"}, b"{oops}\n"], ":2: not JSON"),
    "not an object": ([[1]], ":1: a list where an object was expected"),
    "not UTF-8": ([{"id": "a", "prompt": "x"}, b'{"id": "b", "prompt": "\xff"}\n'], ":2: not UTF-8 (byte 23)"),
    "id twice": (
        [{"id": "a", "prompt": "x"}, {"id": "b", "prompt": "x"}, {"id": "a", "prompt": "y"}],
        ":3: id 'a' is there twice (first at 1)",
    ),
    "id absent": ([{"ID": "a", "prompt": "x"}], ":1: no id in field 'id'; its fields are ID, prompt"),
    "id near": ([{"idd": "a", "prompt": "x"}], "did you mean 'idd'?"),
    "id null": ([{"id": None, "prompt": "x"}], ":1: no id in field 'id'"),
    "id a truth value": ([{"id": True, "prompt": "x"}], ":1: no id"),
    "prompt absent": ([{"id": "a", "promt": "x"}], "is missing; did you mean 'promt'?"),
    "prompt empty": ([{"id": "a", "prompt": "  "}], "the prompt in field 'prompt' is empty"),
    "prompt a number": ([{"id": "a", "prompt": 3}], "the prompt in field 'prompt' is empty"),
    "chat without user": (
        [{"id": "a", "prompt": [{"role": "assistant", "content": "x"}]}],
        "must end with a user's turn",
    ),
    "chat turn malformed": ([{"id": "a", "prompt": [{"role": "robot", "content": "x"}]}], "a chat turn must be"),
}


@pytest.mark.parametrize(("lines", "message"), BAD.values(), ids=BAD.keys())
def test_bad_files_are_refused_with_their_line(tmp_path: Path, lines: list, message: str) -> None:
    with pytest.raises(UserError) as error:
        read(write(tmp_path, *lines))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read(tmp_path / "nothing.jsonl")


def test_not_parquet(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_text("no")
    with pytest.raises(UserError, match="not Parquet"):
        read(tmp_path / "x.parquet", format="Parquet")


def test_the_digest_sees_every_column(tmp_path: Path) -> None:
    def digest(**row: object) -> tuple[int, str]:
        return digest_prompts(api.Prompts(uri=f"file://{write(tmp_path, row)}"), RESOLVED)

    first = digest(id="a", prompt="x", topic="m")
    assert first == digest(topic="m", prompt="x", id="a")
    assert first[1] != digest(id="a", prompt="x", topic="n")[1]
    assert first[0] == 1
