"""Secrets taken out of texts that other people read: logs' last lines, exit records, messages in status."""

import re

HIDDEN = "[redacted]"
PATTERNS = (
    (re.compile(r"\bhf_[A-Za-z0-9]{8,}"), HIDDEN),
    (re.compile(r"\b(?:sk|pk|rk)-[A-Za-z0-9_-]{16,}"), HIDDEN),
    (re.compile(r"\bgh[pousr]_[A-Za-z0-9]{20,}"), HIDDEN),
    (re.compile(r"\b(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{12,}"), HIDDEN),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"), HIDDEN),  # a JSON web token
    (re.compile(r"(?i)\b(bearer|basic)(\s+)[A-Za-z0-9._~+/=-]{8,}"), rf"\1\2{HIDDEN}"),
    # name=value and "name": "value" where the name says that the value is secret
    (
        re.compile(
            r"(?i)([A-Za-z0-9_.-]*(?:secret_?access_?key|access_?key(?:_?id)?|api_?key|account_?key|client_?secret|"
            r"passw(?:or)?d|auth_?token|access_?token|hf_?token|session_?token|x-amz-(?:signature|credential|security-token))"
            r"[\"']?\s*[=:]\s*[\"']?)[^\s\"',;&]{4,}"
        ),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"(://[^\s/:@]*:)[^\s/@]+@"), rf"\1{HIDDEN}@"),  # user:password in an address
)


def redact(text: str) -> str:
    """The text with hub tokens, cloud keys, bearer tokens and passwords replaced by `[redacted]`."""
    for pattern, replacement in PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def one_line(text: str, limit: int = 1024) -> str:
    """The text redacted, on one line of at most `limit` bytes (UTF-8), as a condition's message may be."""
    line = " ".join(redact(text).split())
    encoded = line.encode()
    if len(encoded) <= limit:
        return line
    return encoded[: limit - len("…".encode())].decode(errors="ignore") + "…"
