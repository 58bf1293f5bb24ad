"""Python rewards: the user's own function (or class) on batches of prompts and responses."""

import asyncio
import importlib
import inspect
import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from difflib import get_close_matches
from typing import Any

from mora_jobs import api
from mora_jobs.errors import UserError
from mora_jobs.rewards.base import Item, checked
from mora_jobs.rewards.imports import ImportFolder


class CallableNotFound(UserError):
    """There is no such callable in the import paths or the environment."""

    reason = "CallableNotFound"


class PythonReward:
    """A callable `f(prompts, responses, **columns)`, called with lists of at most `batch_size`.

    Of the prompt rows' other columns it gets those that its signature names, or all with `**kwargs`; a row without the
    column gives None there. A class is made once. A coroutine function is awaited.
    """

    def __init__(self, name: str, spec: api.PythonReward, import_paths: Sequence[str] = ()) -> None:
        self.name = name
        self.where = f"reward {name!r} ({spec.callable})"
        self._batch_size = spec.batch_size
        self._folder, self._function = _find(self.where, spec.callable, [ImportFolder(path) for path in import_paths])
        self._columns = _columns(self.where, self._function)

    def score(self, items: Sequence[Item]) -> list[float | None]:
        """Raises UserError for an exception of the callable, a wrong length, or what is not a finite number."""
        scores: list[float | None] = []
        for start in range(0, len(items), self._batch_size):
            batch = items[start : start + self._batch_size]
            columns = self._columns(batch)
            with _active(self._folder):
                result = _call(
                    self.where, self._function, [[i.prompt for i in batch], [i.response for i in batch]], columns
                )
            scores += checked(self.where, result, batch)
        return scores

    def close(self) -> None:
        """Nothing to give back."""


def _find(where: str, path: str, folders: Sequence[ImportFolder]) -> tuple[ImportFolder | None, Callable[..., Any]]:
    module_name, _, attribute = path.partition(":")
    folder = next((each for each in folders if each.has(module_name)), None)
    with _active(folder):
        module = _import(where, module_name, folder, folders)
        try:
            found = getattr(module, attribute)
        except AttributeError:
            near = get_close_matches(attribute, [n for n in vars(module) if not n.startswith("_")], 1)
            hint = f"did you mean {near[0]!r}?" if near else ""
            raise CallableNotFound(
                where, f"module {module_name!r} ({module.__file__}) has no {attribute!r}", hint
            ) from None
        if inspect.isclass(found):
            found = _call(where, found, [], {})
    if not callable(found):
        raise CallableNotFound(where, f"{attribute!r} in {module.__file__} is a {type(found).__name__}, not callable")
    return folder, found


def _import(where: str, name: str, folder: ImportFolder | None, folders: Sequence[ImportFolder]) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if folder is None and error.name is not None and f"{name}.".startswith(f"{error.name}."):
            places = ", ".join(str(each.folder) for each in folders)
            raise CallableNotFound(
                where,
                f"no module {name!r} in {f'{places} or ' if places else ''}the Python environment",
                "put the file beside the manifest, or name it in codeConfigMapRef in a cluster",
            ) from None
        raise UserError(where, f"cannot be imported: {error} ({_line(error)})") from error
    except Exception as error:  # whatever the user's module does while it is imported
        raise UserError(where, f"cannot be imported: {type(error).__name__}: {error} ({_line(error)})") from error


def _call(where: str, function: Callable[..., Any], arguments: list[Any], columns: dict[str, list[Any]]) -> Any:
    try:
        result = function(*arguments, **columns)
        return asyncio.run(_await(result)) if inspect.isawaitable(result) else result
    except Exception as error:  # the user's code may raise anything; it is named, never hidden
        raise UserError(where, f"raised {type(error).__name__}: {error} ({_line(error)})") from error


async def _await(result: Any) -> Any:
    return await result


def _columns(where: str, function: Callable[..., Any]) -> Callable[[Sequence[Item]], dict[str, list[Any]]]:
    """Which columns the callable wants, told by its signature once; the result takes them out of a batch."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # some C functions have no signature: they get the two lists
        return lambda batch: {}
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if len(positional) < 2 and not any(p.kind is p.VAR_POSITIONAL for p in parameters):
        raise UserError(where, "must take two lists: f(prompts, responses, ...)")
    taken = {p.name for p in positional[:2]}
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name not in taken]
    everything = any(p.kind is p.VAR_KEYWORD for p in parameters)

    def columns(batch: Sequence[Item]) -> dict[str, list[Any]]:
        there = {key for item in batch for key in item.fields}
        for parameter in named:
            if parameter.default is parameter.empty and parameter.name not in there:
                known = ", ".join(sorted(there)) or "none"
                raise UserError(
                    where, f"asks for the column {parameter.name!r}, which no prompt has", f"columns: {known}"
                )
        wanted = there - taken if everything else there & {p.name for p in named}
        return {name: [item.fields.get(name) for item in batch] for name in sorted(wanted)}

    return columns


def _active(folder: ImportFolder | None) -> AbstractContextManager[None]:
    return folder.active() if folder is not None else nullcontext()


def _line(error: BaseException) -> str:
    """Where in the user's files it happened: the innermost frame that is not of this module or of importlib."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = [
        f
        for f in traceback.extract_tb(error.__traceback__)
        if f.filename != __file__ and "importlib" not in f.filename
    ]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "in the call itself"
