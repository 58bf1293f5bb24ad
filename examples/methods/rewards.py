"""Two rewards that pull in opposite directions, whatever the language: no answer is best on both."""


def brief(prompts: list[str], responses: list[str]) -> list[float]:
    """Few characters."""
    return [-float(len(response)) for response in responses]


def rich(prompts: list[str], responses: list[str]) -> list[float]:
    """Many different words."""
    return [float(len(set(response.lower().split()))) for response in responses]
