"""Flags win over environment variables, which win over defaults; a bad one is told in a line."""

import pytest

from mora_operator.settings import Settings, parse


@pytest.mark.parametrize(
    ("arguments", "environment", "workers"),
    [([], {}, 16), ([], {"MORA_WORKERS": "3"}, 3), (["--workers", "2"], {"MORA_WORKERS": "3"}, 2)],
)
def test_precedence(arguments: list[str], environment: dict[str, str], workers: int) -> None:
    assert parse(arguments, environment).workers == workers


def test_lists_and_labels() -> None:
    settings = parse(["--namespaces", "a, b", "--kuberay-labels", "x/y=z,p=q"], {})
    assert settings.namespaces == ("a", "b")
    assert settings.kuberay_labels == {"x/y": "z", "p": "q"}


@pytest.mark.parametrize("argument", ["--workers=many", "--workers=0", "--progress-port=70000", "--kuberay-labels="])
def test_a_bad_value_is_named(argument: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parse([argument], {})
    assert end.value.code == 2
    assert argument.split("=", 1)[0] in capsys.readouterr().err


def test_help_tells_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"], {})
    told = capsys.readouterr().out
    assert all("--" + name.replace("_", "-") in told for name in Settings.model_fields)
    assert "MORA_RUNTIME_IMAGE" in told
