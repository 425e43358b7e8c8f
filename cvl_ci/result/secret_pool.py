"""The secrets that several runs of one process know: each run hides those of all runs before it."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from cvl_ci.result.masks import Masks
from cvl_ci.result.secret_names import SecretInputs, secret_values, secrets_of


class SecretPool:
    """Secrets of an environment and of runs. Masks serve one thread, so each run gets its own."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._lock = threading.Lock()
        self._values = set(secret_values(environment))

    def masks(self) -> Masks:
        """Return new masks with all secrets so far."""
        masks = Masks()
        with self._lock:
            masks.add(*self._values)
        return masks

    def learn(self, masks: Masks, source: SecretInputs) -> None:
        """Hide the secrets of a request or plan in these masks, and in all later ones."""
        values = tuple(secrets_of(source))
        masks.add(*values)
        with self._lock:
            self._values.update(values)
