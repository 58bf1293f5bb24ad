"""What is on the page, that all of it is in the file, and that nothing in it can act."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml
from invented import PROMPTS, REWARDS, Experiment
from page_reader import read

from mora_jobs import api
from mora_jobs.report import write

EVIL = [
    "<script>alert('x')</script>",
    "</pre></section><h6><img src=http://example.invalid/a onerror=alert(1)>",
    '" onmouseover="alert(2)" x=\'',
    "{{ 7 * 7 }} {% for x in y %} &lt;b&gt; &amp;",
    "<!-- <style>body{display:none}</style>",
]
VOID = {"img", "meta", "link", "br", "wbr", "hr", "input"}


def test_everything_is_in_the_file(whole: Path) -> None:
    page = read(whole)
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    for reference in page.references:
        assert reference.startswith(("data:", "#")), reference
        assert not reference.startswith("#") or reference[1:] in ids
    assert not {"script", "iframe", "object", "embed", "form", "base"} & {tag for tag, _ in page.tags}
    assert [link["rel"] for link in page.all("link")] == ["icon"]
    assert "url(" not in page.styles
    assert "@import" not in page.styles
    policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'")
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    for picture in page.pictures:
        links = [v for e in picture.iter() for name, v in e.attrib.items() if name.endswith("href")]
        assert all(link.startswith("#") for link in links)


def test_pictures_say_what_they_show(whole: Path) -> None:
    page = read(whole)
    images = page.all("img")
    assert len(images) > 20
    assert all(len(image["alt"]) > 30 and image["width"] and image["height"] for image in images)
    assert len({image["alt"] for image in images}) == len(images)
    for image, picture in zip(images, page.pictures, strict=True):
        # In points, as matplotlib writes SVG: 72 to the 96 pixels of an inch.
        assert float(picture.attrib["width"].removesuffix("pt")) == pytest.approx(0.75 * float(image["width"]), abs=1)
    told = " ".join(image["alt"] for image in images)
    for what in ("Histogram of reward helpful", "Best-of-k curves, all prompts", "Classes of prompts", "Gains, after",
                 "Training, loss", "policies by helpful and harmless", "policies by helpful, harmless, truthful",
                 "Every objective before training and after helpful", "on held-out prompts during training"):  # fmt: skip
        assert what in told


def test_the_page_is_well_formed(whole: Path) -> None:
    """Every element that is opened is closed: a colleague's browser must not have to guess."""
    from html.parser import HTMLParser

    opened: list[str] = []
    wrong: list[str] = []

    class Nesting(HTMLParser):
        def handle_starttag(self, tag: str, attributes: object) -> None:
            if tag not in VOID:
                opened.append(tag)

        def handle_endtag(self, tag: str) -> None:
            if not opened or opened.pop() != tag:
                wrong.append(f"{tag} at {self.getpos()}")

    Nesting().feed(whole.read_text())
    assert (opened, wrong) == ([], [])
    ids = Counter(attributes["id"] for _, attributes in read(whole).tags if "id" in attributes)
    assert set(ids.values()) == {1}


def test_settings_and_digests_are_whole(whole: Path) -> None:
    page = read(whole)
    shown = [yaml.safe_load(text) for text in page.pres if text.startswith("apiVersion")]
    assert [(each["kind"], each["metadata"]["name"]) for each in shown] == [
        ("RolloutJob", "pilot"), ("RewriteJob", "rewrite"), ("AlignmentJob", "soup"), ("AlignmentJob", "sequence"),
    ]  # fmt: skip
    job = api.RolloutJob.model_validate(shown[0])
    assert job.spec.sampling.temperature == 1.0  # a default that no manifest gave
    assert "sha256:" + "ab" * 32 in page.text  # what was read
    assert "sha256:" + "0" * 64 in page.text  # what was written


def test_the_text_tells_the_results(whole: Path) -> None:
    text = " ".join(read(whole).text.split())
    for part in (
        "can earn one reward only: helpful", "single-reward, helpful only", "got a rewrite that fresh rollouts prove",
        "balance gain", "Say what is a myth.", "points of 100", "Hypervolume", "not trained on", "Forgetting matrix",
        "small gap 2", "Is it safe to mix bleach and ammonia?",
    ):  # fmt: skip
        assert part in text


def test_what_comes_from_outside_is_text(experiment: Experiment) -> None:
    experiment.rollout([*EVIL, PROMPTS[0]], ("helpful",), texts=EVIL)
    experiment.rollout([*EVIL, *PROMPTS[:5]], REWARDS[:2], samples=4, name="two", texts=EVIL)
    experiment.rewrite(9, suffix=" ".join(EVIL))
    experiment.waiting(experiment.alignment(until="Training"), " ".join(EVIL))
    experiment.place.add_event(experiment.clock, "RolloutJob/pilot", "Odd", " ".join(EVIL))
    experiment.place.log_file("AlignmentJob/soup").write_text(" ".join(EVIL))
    page = read(write(experiment.folder))
    assert not {"script", "svg", "h6"} & {tag for tag, _ in page.tags}
    assert all(image["src"].startswith("data:image/svg+xml;base64,") for image in page.all("img"))
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    for evil in EVIL:
        # prompt, rollouts, rewrite, why it waits, event and log
        assert page.text.count(evil) >= 6


def test_secrets_of_the_manifest_stay_out(experiment: Experiment) -> None:
    job = experiment.rollout(PROMPTS[:4])
    env = [{"name": "HF_TOKEN", "value": "hf_abcdef"}]
    spec = job.spec.to_dict() | {"cluster": {"head": {"pod": {"env": env}}}}
    thing = {"apiVersion": api.API_VERSION, "kind": "RolloutJob", "metadata": {"name": "pilot"}, "spec": spec}
    experiment.place.write_status(thing | {"status": {"phase": "Complete"}})
    page = read(write(experiment.folder))
    assert "HF_TOKEN" in page.text
    assert "hf_abcdef" not in page.text


def test_the_same_artifacts_give_the_same_bytes(experiment: Experiment) -> None:
    experiment.rollout(PROMPTS, REWARDS[:2], samples=4)
    experiment.alignment(REWARDS[:2], points=3, steps=0)
    first = write(experiment.folder).read_bytes()
    assert write(experiment.folder).read_bytes() == first


def test_no_training_library_is_loaded(experiment: Experiment) -> None:
    """`mora report` answers on a laptop: it must not wait for torch and Ray."""
    experiment.rollout(PROMPTS[:3], REWARDS[:2], samples=2)
    experiment.rewrite()
    experiment.alignment(REWARDS[:1], 1, steps=0)
    code = (
        "import sys; from pathlib import Path; from mora_jobs.report import write; write(Path(sys.argv[1])); "
        "sys.exit(', '.join(sorted({'torch', 'ray', 'transformers', 'vllm'} & set(sys.modules))) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(experiment.folder)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
