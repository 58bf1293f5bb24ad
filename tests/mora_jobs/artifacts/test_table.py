"""Tables: what is appended is read back, once, in order, checked."""

import json
import math
import pickle
from typing import Any

import pyarrow as pa
import pytest

from mora_jobs.artifacts.manifest import KeyConflict
from mora_jobs.artifacts.store import Store
from mora_jobs.artifacts.table import Table
from mora_jobs.errors import UserError

SAMPLE = pa.struct([("text", pa.string()), ("tokens", pa.int32()), ("finish", pa.string())])
SCHEMA = pa.schema(
    [("id", pa.string()), ("prompt", pa.string()), ("score", pa.float64()), ("samples", pa.list_(SAMPLE))]
)


def row(key: str, **other: Any) -> dict[str, Any]:
    sample = {"text": f"text of {key}", "tokens": 3, "finish": "Stop"}
    return {"id": key, "prompt": f"prompt {key}", "score": None, "samples": [sample, sample], **other}


def test_rows_come_back_in_commit_order(store: Store) -> None:
    table = Table(store, "rollouts", SCHEMA)
    table.append([row("b"), row("a", score=0.5, prompt="数 ñ 🎈\n\0")])
    table.append([row("0", samples=[], prompt=None)])
    expected = [row("b"), row("a", score=0.5, prompt="数 ñ 🎈\n\0"), row("0", samples=[], prompt=None)]
    for reader in (
        table,
        Table(store, "rollouts", SCHEMA),
        Table.open(store, "rollouts"),
        pickle.loads(pickle.dumps(table)),
    ):
        assert list(reader.rows()) == expected
        assert reader.committed() == {"a", "b", "0"}
        assert reader.count() == 3
        assert reader.schema == SCHEMA


def test_an_empty_table_is_no_table(store: Store) -> None:
    table = Table(store, "rollouts", SCHEMA)
    table.append([])
    assert (table.count(), table.committed(), list(table.rows())) == (0, set(), [])
    assert table.digest().startswith("sha256:")
    assert store.list() == []
    with pytest.raises(UserError, match="there is no table here"):
        Table.open(store, "rollouts")


def test_columns_are_chosen_in_the_order_asked_for(store: Store) -> None:
    table = Table(store, "t", SCHEMA)
    table.append([row("a", score=1.5)])
    assert list(table.rows(["score", "id"])) == [{"score": 1.5, "id": "a"}]
    assert [batch.schema.names for batch in table.batches(["score", "id"])] == [["score", "id"]]
    with pytest.raises(ValueError, match="no column 'nothing'"):
        list(table.rows(["nothing"]))


def test_batches_are_small_however_large_the_part(store: Store) -> None:
    table = Table(store, "t", SCHEMA)
    table.append([row(f"{number:04d}") for number in range(1000)])
    sizes = [batch.num_rows for batch in table.batches()]
    assert sum(sizes) == 1000
    assert max(sizes) <= 256
    assert [each["id"] for each in table.rows(["id"])] == [f"{number:04d}" for number in range(1000)]


def test_a_reader_sees_what_others_append(store: Store) -> None:
    reader, writer = Table(store, "t", SCHEMA), Table(store, "t", SCHEMA)
    assert reader.count() == 0
    writer.append([row("a")])
    assert reader.committed() == {"a"}
    writer.append([row("b")])
    assert [each["id"] for each in reader.rows()] == ["a", "b"]


@pytest.mark.parametrize("writers", [1, 2])
def test_committed_keys_are_refused_and_nothing_is_left(store: Store, writers: int) -> None:
    first = Table(store, "t", SCHEMA)
    other = first if writers == 1 else Table(store, "t", SCHEMA)
    other.append([row("x")])
    first.append([row("a")])
    before = store.list()
    with pytest.raises(KeyConflict, match="already committed: 'a', 'x'") as error:
        other.append([row("b"), row("x"), row("a")])
    assert error.value.keys == ["a", "x"]
    assert isinstance(error.value, ValueError)
    assert store.list() == before
    other.append([row("b")])
    assert sorted(each["id"] for each in first.rows()) == ["a", "b", "x"]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([row("a"), row("a")], "is repeated"),
        ([{**row("a"), "id": None}], "has no 'id'"),
        ([{"prompt": "x"}], "has no 'id'"),
        ([row("a", extra=1)], "no column 'extra'"),
        ([row("a", score="high")], "does not fit"),
        ([row("a", prompt="\ud800")], "does not fit"),
        ([row("a", samples=[{"text": "x", "tokens": 2**40, "finish": "Stop"}])], "does not fit"),
    ],
)
def test_bad_rows_are_refused_whole(store: Store, rows: list[dict[str, Any]], says: str) -> None:
    table = Table(store, "t", SCHEMA)
    with pytest.raises(ValueError, match=says):
        table.append([row("good"), *rows])
    assert store.list() == []
    assert table.count() == 0


def test_the_digest_is_of_the_rows_not_of_the_parts(store: Store) -> None:
    rows = [row(f"{number}", score=number / 3) for number in range(7)]
    digests = set()
    for name, cuts in {"one": [rows], "each": [[each] for each in rows], "back": [rows[4:], rows[:4]]}.items():
        table = Table(store, name, SCHEMA)
        for part in cuts:
            table.append(part)
        digests.add(table.digest())
        assert Table.open(store, name).digest() == table.digest()
    assert len(digests) == 1
    other = Table(store, "other", SCHEMA)
    other.append([*rows[:6], row("6", score=math.nextafter(2.0, 3.0))])
    assert other.digest() not in digests


def test_a_number_has_one_digest_whatever_its_python_type(store: Store) -> None:
    for name, score in {"int": 1, "float": 1.0, "nan": math.nan}.items():
        Table(store, name, SCHEMA).append([row("a", score=score)])
    digest = {name: Table.open(store, name).digest() for name in ("int", "float", "nan")}
    assert digest["int"] == digest["float"] != digest["nan"]


@pytest.mark.parametrize(
    ("schema", "key", "says"),
    [
        (SCHEMA.append(pa.field("more", pa.int8())), "id", "another columns"),
        (SCHEMA.set(2, pa.field("score", pa.float32())), "id", '"score": "double"'),
        (SCHEMA, "prompt", "another key"),
    ],
)
def test_another_schema_is_refused(store: Store, schema: pa.Schema, key: str, says: str) -> None:
    Table(store, "t", SCHEMA).append([row("a")])
    for act in (Table.count, lambda table: table.append([{key: "b"}]), lambda table: list(table.rows())):
        with pytest.raises(UserError, match=says):
            act(Table(store, "t", schema, key=key))


@pytest.mark.parametrize("key", ["absent", "score"])
def test_the_key_must_be_a_string_column(store: Store, key: str) -> None:
    with pytest.raises(ValueError, match="no string column"):
        Table(store, "t", SCHEMA, key=key)


def damaged_table(store: Store) -> tuple[Table, str]:
    table = Table(store, "t", SCHEMA)
    table.append([row("a")])
    table.append([row("b")])
    return Table(store, "t", SCHEMA), json.loads(store.read("t/manifest/00000001.json"))["part"]


@pytest.mark.parametrize("damage", ["one bit", "cut", "empty", "gone"])
def test_a_damaged_part_is_named(store: Store, damage: str) -> None:
    table, part = damaged_table(store)
    data = store.read(f"t/{part}")
    if damage == "gone":
        store.delete(f"t/{part}")
    else:
        middle = len(data) // 2
        flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        store.write(f"t/{part}", {"one bit": flipped, "cut": data[:middle], "empty": b""}[damage])
    rows = table.rows()
    assert next(rows)["id"] == "a"
    with pytest.raises(UserError, match="is missing" if damage == "gone" else "is damaged") as error:
        next(rows)
    assert part in str(error.value)
    assert "restore it" in str(error.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"part": "parts/x"}'])
def test_a_damaged_entry_is_named(store: Store, content: bytes) -> None:
    damaged_table(store)
    store.write("t/manifest/00000000.json", content)
    with pytest.raises(UserError, match=r"manifest/00000000\.json: is damaged"):
        Table(store, "t", SCHEMA).count()


def test_a_lost_entry_is_named(store: Store) -> None:
    damaged_table(store)
    store.delete("t/manifest/00000000.json")
    with pytest.raises(UserError, match=r"manifest/00000000\.json: is missing"):
        Table(store, "t", SCHEMA).count()
