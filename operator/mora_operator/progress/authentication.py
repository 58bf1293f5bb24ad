"""Whose token is this? The API server knows: TokenReview with the audience that the token must be bound to."""

import asyncio
import hashlib

from ..kube.client import Kube
from ..resources import TOKEN_REVIEWS, Object

# A token that was good stays good for so long: a review for every report would be a write to the API server for each.
CACHE_SECONDS = 120.0
CACHE_SIZE = 10_000


class Unauthenticated(Exception):
    """The token is not valid for this audience."""


class Authenticator:
    """Asks the API server about tokens, and remembers good answers for a while (by hash, never the token itself)."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._known: dict[tuple[str, bytes], tuple[float, str]] = {}

    async def user(self, token: str, audience: str) -> str:
        """Name of the user whose token this is. Raises Unauthenticated, or a KubeError if nobody could say."""
        now = asyncio.get_running_loop().time()
        entry = (audience, hashlib.sha256(token.encode()).digest())
        until, user = self._known.get(entry, (0.0, ""))
        if now < until:
            return user
        review: Object = {
            "apiVersion": TOKEN_REVIEWS.api_version,
            "kind": TOKEN_REVIEWS.kind,
            "spec": {"token": token, "audiences": [audience]},
        }
        status = (await self._kube.create(TOKEN_REVIEWS, None, review)).get("status") or {}
        if not status.get("authenticated") or audience not in status.get("audiences", []):
            raise Unauthenticated("the token is not valid for this job and attempt")
        user = str(status["user"]["username"])
        if len(self._known) >= CACHE_SIZE:
            self._known.clear()
        self._known[entry] = (now + CACHE_SECONDS, user)
        return user
