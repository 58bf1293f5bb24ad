"""Times as the API server writes them: RFC 3339, in UTC, to the second."""

from datetime import UTC, datetime


def clock() -> datetime:
    return datetime.now(UTC)


def time_of(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC)


def text_of(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
