"""The progress endpoint's certificate over time: made at start, and made anew at half of its life.

A new authority is published long before its certificate is used: it takes minutes until a changed ConfigMap is seen in
all pods.
"""

import ssl
from datetime import datetime, timedelta

from .authorities import Authorities, bundle
from .certificate import LIFETIME, Certificate, make

SPREAD = timedelta(hours=1)


class Rotation:
    """One replica's certificate. `tick` is called again and again, with the time."""

    def __init__(self, host: str, authorities: Authorities, now: datetime) -> None:
        self._host = host
        self._authorities = authorities
        self._serving = make(host, now)
        self._next: Certificate | None = None
        self.context: ssl.SSLContext = self._serving.server_context()

    async def tick(self, now: datetime) -> str:
        """Renew what is due, publish what is new, and return the authorities of all replicas (PEM)."""
        if self._next is not None and now >= self._next.made + SPREAD:
            self._serving, self._next = self._next, None
            self._serving.load_into(self.context)  # connections from now on
        elif self._next is None and now >= self._serving.made + LIFETIME / 2:
            self._next = make(self._host, now)
        return bundle(await self._authorities.share(self._own(), now))

    def _own(self) -> str:
        return self._serving.authority + (self._next.authority if self._next is not None else "")
