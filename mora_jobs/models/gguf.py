"""A .gguf file becomes a model folder in bfloat16, once per machine: half a minute for 135 million parameters."""

import struct
from pathlib import Path

from mora_jobs.errors import UserError
from mora_jobs.models.cache import made_once

LAYOUT = 1  # part of the cache key: raise it when the conversion changes


def converted(uri: str, gguf: Path, digest: str) -> Path:
    """The converted folder of `gguf`, whose digest is "sha256:…". Raises UserError when it is not a model we can read."""

    def convert(folder: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        try:
            source, name = str(gguf.parent), gguf.name
            tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=name)
            model = AutoModelForCausalLM.from_pretrained(source, gguf_file=name, dtype=torch.bfloat16)
        except (ValueError, KeyError, NotImplementedError, RuntimeError, IndexError, OSError, struct.error) as error:
            what = f"cannot be read as a GGUF model ({type(error).__name__}: {error})"
            raise UserError(uri, what, "use a model folder in the transformers layout") from error
        # The weights are whole numbers of bfloat16 by now, but the config still says that they are quantised, and then
        # neither vLLM nor a second from_pretrained takes them: a fresh model of the plain config does.
        plain = {key: value for key, value in model.config.to_dict().items() if key != "quantization_config"}
        with torch.device("meta"):
            fresh = type(model)(type(model.config)(**plain))
        fresh.load_state_dict(model.state_dict(), assign=True)
        fresh.tie_weights()
        fresh.generation_config = model.generation_config
        fresh.save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    return made_once("gguf", f"{digest.removeprefix('sha256:')[:40]}-{LAYOUT}", convert)
