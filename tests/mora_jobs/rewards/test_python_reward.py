"""The user's own Python: found in the manifest's folder, given what it asks for, checked in what it returns."""

import sys
from pathlib import Path
from textwrap import dedent

import pytest

from mora_jobs import api
from mora_jobs.errors import UserError
from mora_jobs.rewards.base import Item
from mora_jobs.rewards.load import make

ITEMS = [
    Item("p1#0", "two words", "short", {"topic": "a", "gold": "Paris"}),
    Item("p1#1", "two words", "a longer answer", {"topic": "a"}),
    Item("p2#0", "one", "", {"topic": "b", "gold": "Rome"}),
]


def reward(folder: Path, source: str, callable_: str = "my_rewards:f", batch_size: int = 256):
    folder.mkdir(exist_ok=True, parents=True)
    (folder / "my_rewards.py").write_text(dedent(source))
    spec = api.Reward(name="own", python=api.PythonReward(callable=callable_, batch_size=batch_size))
    return make(spec, [str(folder)])


def test_a_function_gets_lists_in_batches(tmp_path):
    own = reward(
        tmp_path,
        "def f(prompts, responses):\n    return [len(prompts) + len(r) / 100 for r in responses]",
        batch_size=2,
    )
    assert own.score(ITEMS) == [2.05, 2.15, 1.0]
    assert own.score([]) == []


@pytest.mark.parametrize(
    ("signature", "seen"),
    {
        "prompts, responses, gold": ["gold"],
        "p, r, *, topic, other=None": ["topic"],
        "prompts, responses, **columns": ["gold", "topic"],
        "prompts, completions, topic, **rest": ["gold", "topic"],
        "*both": [],
        "prompts, responses": [],
    }.items(),
)
def test_only_the_columns_that_the_signature_names_are_given(tmp_path, signature, seen):
    own = reward(tmp_path, f"""
        seen = []
        def f({signature}):
            names = {{**locals(), **locals().get("columns", {{}}), **locals().get("rest", {{}})}}
            seen.append({{k: v for k, v in names.items() if k in ("gold", "topic")}})
            return [1] * 3
    """)  # fmt: skip
    assert own.score(ITEMS) == [1.0, 1.0, 1.0]
    given = own._function.__globals__["seen"][0]
    assert sorted(given) == seen
    assert given.get("gold", ["Paris", None, "Rome"]) == ["Paris", None, "Rome"]


def test_a_class_is_made_once_and_called(tmp_path):
    own = reward(tmp_path, """
        class f:
            made = 0
            def __init__(self): f.made += 1
            def __call__(self, prompts, responses): return [f.made] * len(responses)
    """)  # fmt: skip
    assert [own.score(ITEMS), own.score(ITEMS[:1])] == [[1.0, 1.0, 1.0], [1.0]]


def test_coroutines_numpy_and_missing_scores_are_welcome(tmp_path):
    own = reward(tmp_path, "async def f(prompts, responses):\n    return [None, 1, True]")
    assert own.score(ITEMS) == [None, 1.0, 1.0]
    own = reward(
        tmp_path / "np", "import numpy as np\ndef f(p, r):\n    return np.arange(len(r), dtype=np.float32) / 2"
    )
    assert own.score(ITEMS) == [0.0, 0.5, 1.0]


def test_two_folders_with_equal_module_names_stay_apart_and_nothing_is_left_behind(tmp_path):
    before_path, before_modules = list(sys.path), set(sys.modules)
    rewards = []
    for number in (1, 2):
        folder = tmp_path / str(number)
        (folder / "words").mkdir(parents=True)
        (folder / "words" / "__init__.py").write_text(f"VALUE = {number}")
        (folder / "late.py").write_text(f"VALUE = {number * 10}")
        rewards.append(reward(folder, """
            from words import VALUE
            def f(prompts, responses):
                import late  # while it runs, too
                return [VALUE + late.VALUE] * len(responses)
        """))  # fmt: skip
    assert [each.score(ITEMS[:1]) for each in rewards] == [[11.0], [22.0]]
    assert [each.score(ITEMS[:1]) for each in rewards] == [[11.0], [22.0]]
    assert sys.path == before_path
    assert not {"my_rewards", "words", "late"} & (set(sys.modules) - before_modules)


def test_a_module_of_the_folder_hides_one_of_the_environment_only_for_its_own_code(tmp_path):
    import colorsys

    (tmp_path / "colorsys.py").write_text("VALUE = 7")
    own = reward(tmp_path, "import colorsys\ndef f(p, r):\n    return [colorsys.VALUE] * len(r)")
    assert own.score(ITEMS[:1]) == [7.0]
    assert sys.modules["colorsys"] is colorsys


def test_a_callable_of_the_environment_needs_no_folder():
    spec = api.Reward(name="own", python=api.PythonReward(callable="operator:eq"))
    assert make(spec).score  # a C function: found, and given the two lists


@pytest.mark.parametrize(
    ("source", "message"),
    {
        "def f(p, r): return [1]": "returned 1 scores for 3 responses",
        "def f(p, r): return [1, float('nan'), 2]": r"returned nan at index 1 \(item p1#1\)",
        "def f(p, r): return [1, 2, float('inf')]": r"returned inf at index 2 \(item p2#0\)",
        "def f(p, r): return [1, 2, 'x']": r"returned 'x' at index 2 \(item p2#0\)",
        "def f(p, r): return 3": "returned int, not a list of 3 numbers",
        "def f(p, r): return {1: 2}": "returned dict",
        "def f(p, r): pass": "returned NoneType",
        "def f(p, r): return 1 / 0": r"raised ZeroDivisionError: division by zero \(.*my_rewards.py:1\)",
        "def f(p, r, author): return [0] * 3": "asks for the column 'author', which no prompt has; columns: gold, topic",
    }.items(),
)
def test_a_wrong_answer_names_reward_callable_and_place(tmp_path, source, message):
    with pytest.raises(UserError, match=rf"^reward 'own' \(my_rewards:f\): {message}"):
        reward(tmp_path, source).score(ITEMS)


@pytest.mark.parametrize(
    ("source", "callable_", "message", "reason"),
    {
        "": ("", "absent.module:f", "no module 'absent.module' in .* or the Python environment", "CallableNotFound"),
        "typo": ("def toxicity(p, r): ...", "my_rewards:toxicty", "has no 'toxicty'; did you mean 'toxicity'", "CallableNotFound"),
        "value": ("f = 3", "my_rewards:f", "'f' in .* is a int, not callable", "CallableNotFound"),
        "dependency": ("import not_installed_here", "my_rewards:f", "cannot be imported: No module named 'not_inst", None),
        "syntax": ("def f(:", "my_rewards:f", r"cannot be imported: SyntaxError: .*my_rewards.py:1", None),
        "raises": ("x = 1\n1 / 0", "my_rewards:f", r"cannot be imported: ZeroDivisionError.*my_rewards.py:2", None),
        "init": ("class f:\n  def __init__(self, key): ...", "my_rewards:f", "raised TypeError: .*'key'", None),
        "one": ("def f(responses): ...", "my_rewards:f", r"must take two lists", None),
    }.values(),
)  # fmt: skip
def test_what_cannot_be_loaded_is_one_line(tmp_path, source, callable_, message, reason):
    with pytest.raises(UserError, match=message) as error:
        reward(tmp_path, source, callable_)
    assert "\n" not in str(error.value)
    assert getattr(error.value, "reason", None) == reason
