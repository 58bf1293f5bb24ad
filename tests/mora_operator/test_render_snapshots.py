"""The complete objects of attempts, compared with the files beside the manifests.

MORA_UPDATE_SNAPSHOTS=1 writes the files anew; the diff is then what is reviewed.
"""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from attempts import SETTINGS, all_objects, attempt_of, manifests, schema

from mora_operator.plan.blockers import blockers


class Readable(yaml.SafeDumper):
    """Long texts as they are, and nothing by reference to something above."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def text(self, value: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


Readable.add_representer(str, Readable.text)


@pytest.mark.parametrize("manifest", manifests(), ids=lambda path: path.name.split(".")[0])
def test_rendered_objects_are_those_of_the_file(manifest: Path) -> None:
    attempt = attempt_of(manifest)
    assert list(blockers(attempt.job, SETTINGS, attempt.references)) == []
    file = manifest.with_name(manifest.name.replace(".manifest", ""))
    objects = [body for _, body in all_objects(attempt, schema())]
    text = yaml.dump_all(objects, Dumper=Readable, width=120)
    if os.environ.get("MORA_UPDATE_SNAPSHOTS"):
        file.write_text(text)
    assert list(yaml.safe_load_all(file.read_text())) == objects
    assert file.read_text() == text


def test_every_file_belongs_to_a_manifest() -> None:
    folder = manifests()[0].parent
    assert len(list(folder.iterdir())) == 2 * len(manifests()) > 0
