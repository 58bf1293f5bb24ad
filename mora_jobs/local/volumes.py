"""`--volume CLAIM=FOLDER`: manifests of a cluster run here, with folders in the place of PersistentVolumeClaims."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from mora_jobs.api.uris import claim_of, mount, uris
from mora_jobs.errors import UserError
from mora_jobs.validation import Fault, Loaded

_CLAIM = re.compile(r"[a-z0-9]([-.a-z0-9]*[a-z0-9])?")


class Volumes:
    """Folders of this machine by the name of the claim that they stand for."""

    def __init__(self, texts: Iterable[str]) -> None:
        """UserError where a text is not of the form CLAIM=FOLDER, or the folder does not exist."""
        self._folders: dict[str, Path] = {}
        for text in texts:
            where = f"--volume {text}"
            claim, equals, folder = text.partition("=")
            if not equals or not folder or not _CLAIM.fullmatch(claim):
                raise UserError(where, "is not of the form CLAIM=FOLDER")
            if claim in self._folders:
                raise UserError(where, f"{claim} is given twice")
            if not Path(folder).is_dir():
                raise UserError(where, "there is no such folder")
            self._folders[claim] = Path(folder).resolve()

    def faults(self, loaded: Sequence[Loaded]) -> Iterator[Fault]:
        """pvc:// URIs whose claim has no folder."""
        for each in loaded:
            for path, uri in uris(each.job) if each.job else ():
                claim = claim_of(uri)
                if claim is not None and claim not in self._folders:
                    message = f"`mora run` has no volumes; give --volume {claim}=FOLDER, or use file://"
                    yield each.fault(path, message, "VolumeNotAvailable")

    def mounted(self, loaded: Iterable[Loaded]) -> list[Loaded]:
        """The same documents, with the folders in their jobs' URIs. UserError for a folder that no URI asks for."""
        used = set()

        def folder_of(claim: str) -> str | None:
            used.add(claim)
            return str(self._folders[claim]) if claim in self._folders else None

        jobs = [replace(each, job=mount(each.job, folder_of)) if each.job else each for each in loaded]
        if unused := self._folders.keys() - used:
            raise UserError(f"--volume {min(unused)}", "no manifest has a URI on this claim")
        return jobs
