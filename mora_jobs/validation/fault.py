"""One thing that is wrong with a manifest, as it is printed."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """`path` is written as the API server writes it; `reason` is PascalCase, InvalidSpec for schema and CEL rules."""

    file: Path
    line: int
    kind: str
    name: str
    path: str
    message: str
    reason: str = "InvalidSpec"

    def __str__(self) -> str:
        place = f"{self.kind}/{self.name}" if self.kind and self.name else f"line {self.line}"
        return ": ".join(part for part in (str(self.file), place, self.path, self.message) if part)


def write_path(parts: tuple[str | int, ...]) -> str:
    """("spec", "rewards", 0, "name") is spec.rewards[0].name."""
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")
