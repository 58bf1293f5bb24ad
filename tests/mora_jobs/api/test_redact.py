"""Secrets in texts."""

import pytest

from mora_jobs.api.redact import one_line, redact


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("token hf_AbCdEfGhIjKlMnOp is invalid", "hf_AbCdEfGhIjKlMnOp"),
        ("AKIAIOSFODNN7EXAMPLE was refused", "AKIAIOSFODNN7EXAMPLE"),
        ("aws_secret_access_key=wJalrXUtnFEMI/K7MDENG", "wJalrXUtnFEMI/K7MDENG"),
        ('{"apiKey": "abcd1234efgh"}', "abcd1234efgh"),
        ("Authorization: Bearer abc.def-ghi_jkl", "abc.def-ghi_jkl"),
        ("Authorization: Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
        ("sk-proj-abcdefghijklmnopqrst", "sk-proj-abcdefghijklmnopqrst"),
        ("ghp_abcdefghijklmnopqrstuvwxyz0123", "ghp_abcdefghijklmnopqrstuvwxyz0123"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0abc.c2lnbmF0dXJl", "eyJzdWIiOiIxIn0abc"),
        ("https://user:pa55word@host/path", "pa55word"),
        ("https://b.s3.amazonaws.com/k?X-Amz-Signature=0123abcd", "0123abcd"),
        ("password: hunter22", "hunter22"),
    ],
)
def test_a_secret_is_taken_out(text, secret):
    assert secret in text
    assert secret not in redact(text)
    assert "[redacted]" in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "maxTokens: 512 must be at most 100",
        "reward 'helpful' returned 3 scores for 4 responses",
        "file:///data/hf_model/config.json has no chat template",
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "the key spec.rewards[0].name is required",
    ],
)
def test_ordinary_words_stay(text):
    assert redact(text) == text


def test_one_line():
    assert one_line("a\n  b\tc ") == "a b c"
    assert one_line("x" * 2000) == "x" * 1021 + "…", "1 KiB of UTF-8"
    assert one_line("é" * 600) == "é" * 510 + "…", "no half of a character stays"
