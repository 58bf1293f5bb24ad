"""A model's tokenizer, and chat messages as the text that the model was trained on."""

from collections.abc import Mapping, Sequence
from typing import Any

from mora_jobs.errors import UserError
from mora_jobs.models.local_model import LocalModel


def load_tokenizer(local: LocalModel) -> Any:
    """The tokenizer of a fetched model, with spec.model.chatTemplate in force where it is given.

    Raises UserError when the folder holds none.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(local.path, trust_remote_code=local.trust_remote_code)
    except (ValueError, OSError, KeyError) as error:
        raise UserError(local.uri, f"has no tokenizer that can be loaded ({error})") from error
    tokenizer.chat_template = local.chat_template
    tokenizer.name_or_path = local.uri  # what messages about it call it
    return tokenizer


def render_chat(tokenizer: Any, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool = True) -> str:
    """Chat messages ({role, content}) as one text, special tokens included: tokenize it without adding any.

    Raises UserError when there is no chat template or it is not valid Jinja, ValueError when the template refuses these
    messages (for instance because their roles do not alternate).
    """
    import jinja2

    if not tokenizer.chat_template:
        raise UserError(tokenizer.name_or_path, "has no chat template", "give one in spec.model.chatTemplate")
    try:
        text = tokenizer.apply_chat_template(
            [dict(message) for message in messages], tokenize=False, add_generation_prompt=add_generation_prompt
        )
    except jinja2.TemplateSyntaxError as error:
        what = f"its chat template is not valid Jinja (line {error.lineno}: {error.message})"
        raise UserError(tokenizer.name_or_path, what, "correct spec.model.chatTemplate") from error
    except jinja2.TemplateError as error:
        raise ValueError(f"the chat template refuses the prompt: {error}") from error
    return str(text)
