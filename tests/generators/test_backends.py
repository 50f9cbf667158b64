from __future__ import annotations

import pytest

from faceloom.errors import UsageError
from faceloom.generators import backends


def test_the_environment_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACELOOM_BACKEND", "plain")
    assert backends.backend() == ("plain", "asked for")
    monkeypatch.setenv("FACELOOM_BACKEND", "quick")
    with pytest.raises(UsageError, match="no back end 'quick'"):
        backends.backend()


def test_without_numba_plain_draws_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FACELOOM_BACKEND", raising=False)
    monkeypatch.setattr(backends, "_missing", lambda: "numba is not installed")
    assert backends.backend() == ("plain", "numba is not installed")
    with backends.use_backend("fused"), pytest.raises(UsageError, match="cannot be used: numba is not installed"):
        backends.backend()


def test_numba_that_is_not_there_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    assert "faceloom[fast]" in (backends._missing.__wrapped__() or "")
