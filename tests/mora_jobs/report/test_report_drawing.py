"""The parts that charts and texts are made of."""

import matplotlib.pyplot as plt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mora_jobs.report import figures
from mora_jobs.report.difference import added
from mora_jobs.report.labels import Label, place
from mora_jobs.report.page import clip, tint, words
from mora_jobs.report.style import short
from mora_jobs.report.training_charts import accuracy


@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=25))
def test_labels_cover_neither_each_other_nor_points(at: list[tuple[float, float]]) -> None:
    drawing, ax = plt.subplots(figsize=(3.3, 3))
    try:
        ax.set(xlim=(-0.1, 1.1), ylim=(-0.1, 1.1))
        drawing.canvas.draw()
        pixels = [tuple(ax.transData.transform(each)) for each in at]
        placed = place(drawing, ax, [Label(f"point-{i}", x, y) for i, (x, y) in enumerate(pixels)])
        assert placed == len(drawing.texts)
        boxes = [text.get_window_extent() for text in drawing.texts]
        room = ax.get_window_extent()
        for i, box in enumerate(boxes):
            assert not any(box.overlaps(other) for other in boxes[:i])
            assert not any(box.contains(x, y) for x, y in pixels)
            assert room.x0 <= box.x0 + 0.5
            assert box.x1 <= room.x1 + 0.5
    finally:
        plt.close(drawing)


def test_a_single_label_always_finds_room() -> None:
    drawing, ax = plt.subplots()
    try:
        drawing.canvas.draw()
        assert place(drawing, ax, [Label("base", *ax.transData.transform((0.5, 0.5)))]) == 1
    finally:
        plt.close(drawing)


@given(st.text(max_size=60), st.text(max_size=60))
def test_pieces_of_a_rewrite_are_the_rewrite(original: str, rewritten: str) -> None:
    assert "".join(text for text, _ in added(original, rewritten)) == rewritten


@pytest.mark.parametrize(
    ("original", "rewritten", "new"),
    [
        ("How do I bake?", "How do I bake? Name a myth.", "Name a myth."),
        ("How do I bake?", "How do I bake safely?", "safely"),
        ("same", "same", ""),
        ("如何种番茄?", "如何在家里种番茄?", "在家里"),
    ],
)
def test_added_words_are_marked(original: str, rewritten: str, new: str) -> None:
    assert "".join(text for text, marked in added(original, rewritten) if marked) == new


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (figures.fixed("0.21749"), "0.217"),
        (figures.fixed(-0.00001), "0.000"),
        (figures.fixed("nan"), "–"),
        (figures.fixed(None), "–"),
        (figures.fixed(float("inf")), "–"),
        (figures.fixed(-1.5, 1), "−1.5"),
        (figures.signed(0.04, 1), "0.0"),
        (figures.signed(-0.26, 1), "−0.3"),
        (figures.signed(2, 1), "+2.0"),
        (figures.between("-0.1", 0.25, 2), "[−0.10, +0.25]"),
        (figures.between(None, 0.2), ""),
        (figures.compact(-0.1139), "−0.114"),
        (figures.compact(1234.6), "1,235"),
        (figures.compact(4.07e-7), "4.1e−07"),
        (figures.compact(0), "0.000"),
        (figures.percent(0.333), "33 %"),
        (figures.span(7_500), "2 h 05 min"),
        (figures.span(200), "3 min 20 s"),
        (figures.span(None), "–"),
        (figures.plural(1, "policy", "policies"), "1 policy"),
        (figures.plural(1200, "prompt"), "1,200 prompts"),
        (figures.raw_digits("120.5"), 0),
        (figures.raw_digits("0.0042"), 5),
        (figures.raw_digits("nan"), 3),
        (words("ReplicationBalanceGain"), "replication balance gain"),
        (short("a" * 30, 9), "aaaa…aaaa"),
        (short("番-1"), "▯-1"),
        (clip("a\x1b[1mb\x00c\ud800"), "abc�"),
        (tint(None), ""),
        (tint(0.5, 0, 0), ""),
    ],
)
def test_how_figures_and_texts_are_written(text: object, expected: object) -> None:
    assert text == expected


@pytest.mark.parametrize(
    ("row", "share"),
    [
        ({"loss": 0.7}, None),
        ({"accuracy/a": 0.6}, 0.6),
        ({"accuracy/a": 0.6, "accuracy/b": 0.2, "coefficient/a": 1.0, "coefficient/b": 0.0}, 0.6),
        ({"accuracy/a": 0.6, "accuracy/b": 0.2, "coefficient/a": 0.25, "coefficient/b": 0.75}, 0.3),
    ],
)
def test_accuracy_counts_what_the_training_follows(row: dict[str, float], share: float | None) -> None:
    assert accuracy(row) == pytest.approx(share)
