"""Prompts from a file or from another job, streamed and checked."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import islice
from typing import Any

from mora_jobs import api
from mora_jobs.artifacts.store import Store
from mora_jobs.artifacts.table import Table
from mora_jobs.errors import UserError
from mora_jobs.generation.records import read_records
from mora_jobs.generation.schemas import FINAL_PROMPTS

ROLES = {"system", "user", "assistant"}


@dataclass(frozen=True)
class Prompt:
    """One prompt: its id, the text of the last user turn, the whole chat, and the other columns of its row."""

    id: str
    text: str
    messages: tuple[dict[str, str], ...]
    fields: dict[str, Any] = field(default_factory=dict)

    def with_text(self, text: str) -> "Prompt":
        """The same prompt with another last user turn."""
        return Prompt(self.id, text, (*self.messages[:-1], {"role": "user", "content": text}), self.fields)


def read_prompts(spec: api.Prompts, resolved: api.ResolvedJob) -> Iterator[Prompt]:
    """Stream the prompts that `spec` names, in their order.

    Raises UserError at the row that is wrong: no id, an id twice, no prompt, or nothing there at all.
    """
    prompts = islice(_source(spec, resolved), spec.limit)
    seen: set[str] = set()
    for prompt in prompts:
        seen.add(prompt.id)
        yield prompt
    if not seen:
        raise UserError(spec.uri or "spec.prompts", "there is no prompt in it")


def digest_prompts(spec: api.Prompts, resolved: api.ResolvedJob) -> tuple[int, str]:
    """Read all prompts once, so that every error shows before anything is written; their number and their sha256."""
    content, count = hashlib.sha256(), 0
    for prompt in read_prompts(spec, resolved):
        content.update(json.dumps([prompt.id, prompt.messages, fields_json(prompt)]).encode())
        count += 1
    return count, f"sha256:{content.hexdigest()}"


def _source(spec: api.Prompts, resolved: api.ResolvedJob) -> Iterator[Prompt]:
    if spec.rollout_job_ref is not None:
        source = resolved.rollout_job(spec.rollout_job_ref.name).spec.prompts
        return read_prompts(source, resolved)
    if spec.rewrite_job_ref is not None:
        return _rewritten(resolved.rewrite_job(spec.rewrite_job_ref.name), resolved)
    return _file(spec)


def _file(spec: api.Prompts) -> Iterator[Prompt]:
    assert spec.uri is not None, "exactly one source: checked by validation"
    places: dict[str, str] = {}
    for place, row in read_records(spec.uri, spec.format, spec.split):
        name = _id(place, row, spec.id_field)
        if name in places:
            raise UserError(place, f"id {name!r} is there twice (first at {places[name]})", "ids must be unique")
        places[name] = place.rsplit(":", 1)[-1] if ":" in place else place
        messages = _messages(place, row, spec)
        fields = {key: value for key, value in row.items() if key not in (spec.id_field, spec.prompt_field)}
        yield Prompt(name, messages[-1]["content"], messages, fields)


def _id(place: str, row: dict[str, Any], id_field: str) -> str:
    value = row.get(id_field)
    if value is None or isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
        near = get_close_matches(id_field, row, 1, 0.6)
        hint = f"did you mean {near[0]!r}?" if near else f"its fields are {', '.join(sorted(row)[:12])}"
        raise UserError(place, f"no id in field {id_field!r}; {hint}", "name it by spec.prompts.idField")
    return str(value)


def _messages(place: str, row: dict[str, Any], spec: api.Prompts) -> tuple[dict[str, str], ...]:
    value = row.get(spec.prompt_field)
    if isinstance(value, str) and value.strip():
        chat = [{"role": "user", "content": value}]
    elif isinstance(value, list) and value:
        chat = [_turn(place, turn) for turn in value]
        if chat[-1]["role"] != "user":
            raise UserError(place, f"the chat in {spec.prompt_field!r} must end with a user's turn")
    else:
        near = get_close_matches(spec.prompt_field, row, 1, 0.6)
        hint = f"did you mean {near[0]!r}?" if near else f"its fields are {', '.join(sorted(row)[:12])}"
        problem = "is empty" if spec.prompt_field in row else f"is missing; {hint}"
        raise UserError(
            place, f"the prompt in field {spec.prompt_field!r} {problem}", "name it by spec.prompts.promptField"
        )
    if spec.system_prompt is not None:
        chat = [{"role": "system", "content": spec.system_prompt}, *(t for t in chat if t["role"] != "system")]
    return tuple(chat)


def _turn(place: str, turn: Any) -> dict[str, str]:
    if not isinstance(turn, dict) or turn.get("role") not in ROLES or not isinstance(turn.get("content"), str):
        raise UserError(place, f"a chat turn must be {{role: {'|'.join(sorted(ROLES))}, content: text}}")
    return {"role": turn["role"], "content": turn["content"]}


def _rewritten(job: api.RewriteJob, resolved: api.ResolvedJob) -> Iterator[Prompt]:
    """The prompts of the rewrite job's source, each with its final text."""
    table = Table(Store(job.spec.output.uri), "prompts", FINAL_PROMPTS)
    texts = {row["id"]: row["prompt"] for row in table.rows(["id", "prompt"])}
    source = resolved.rollout_job(job.spec.source.rollout_job_ref.name).spec.prompts
    for prompt in read_prompts(source, resolved):
        if prompt.id in texts:  # DropOnly leaves prompts out
            yield prompt.with_text(texts[prompt.id])


def fields_json(prompt: Prompt) -> str:
    """The other columns as JSON, for a table; values that JSON lacks (dates, bytes) become texts."""
    return json.dumps(prompt.fields, ensure_ascii=False, sort_keys=True, default=str)
