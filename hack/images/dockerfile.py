"""Read the subset of a Dockerfile that our images are written in: ARG, FROM, COPY, RUN, ENV, LABEL, USER, WORKDIR, ENTRYPOINT."""

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SETTINGS = ("ENV", "LABEL", "USER", "WORKDIR", "ENTRYPOINT")


@dataclass(frozen=True)
class Step:
    """COPY or RUN: `words` are sources and the target, or the one shell command."""

    kind: str
    words: tuple[str, ...]
    options: dict[str, str]
    environment: dict[str, str]  # build arguments, as RUN sees them


@dataclass
class Stage:
    name: str
    base: str
    steps: list[Step] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)  # as OCI's image configuration has it


def read(path: Path, arguments: dict[str, str]) -> list[Stage]:
    """The stages, with `arguments` in place of the defaults of ARG; the last one is the image."""
    given, stages, scope = dict(arguments), list[Stage](), dict[str, str]()
    for kind, rest in _instructions(path.read_text()):
        if kind == "ARG":
            name, _, default = rest.partition("=")
            if not stages:
                given.setdefault(name, default)
            scope[name] = given.get(name, default)
        elif kind == "FROM":
            words = _fill(rest, given).split()
            stages.append(Stage(words[2] if len(words) == 3 else "", words[0]))
            scope = {}
        elif kind in ("COPY", "RUN"):
            options, rest = _options(rest)
            words = (rest,) if kind == "RUN" else tuple(_fill(rest, scope).split())
            stages[-1].steps.append(Step(kind, words, options, dict(scope)))
        elif kind in SETTINGS:
            _configure(stages[-1].config, kind, rest)
        else:
            raise SystemExit(f"{path}: {kind} is not understood here; use docker build")
    return stages


def _instructions(text: str) -> list[tuple[str, str]]:
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(kind, rest.strip()) for kind, _, rest in (line.partition(" ") for line in joined.splitlines())]


def _options(rest: str) -> tuple[dict[str, str], str]:
    options = {}
    while found := re.match(r"--([a-z]+)=(\S+)\s+", rest):
        options[found[1]] = found[2]
        rest = rest[found.end() :]
    return options, rest


def _fill(text: str, values: dict[str, str]) -> str:
    return re.sub(r"\$\{(\w+)\}", lambda found: values[found[1]], text)


def _configure(config: dict[str, Any], kind: str, rest: str) -> None:
    if kind == "ENV":
        config.setdefault("Env", []).extend(shlex.split(rest))
    elif kind == "LABEL":
        config.setdefault("Labels", {}).update(pair.split("=", 1) for pair in shlex.split(rest))
    elif kind == "ENTRYPOINT":
        config["Entrypoint"] = json.loads(rest)
    else:
        config["User" if kind == "USER" else "WorkingDir"] = rest
