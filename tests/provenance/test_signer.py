from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from faceloom.errors import UsageError
from faceloom.provenance import signer
from faceloom.provenance.signer import SigningKey, load_signing_key, signer_file

x509 = pytest.importorskip("cryptography.x509")
ROOT = Path(__file__).parents[2]


def test_the_key_is_made_once_and_is_its_owners_alone() -> None:
    first = load_signing_key()
    path = signer_file()
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) & 0o077 == 0
    assert load_signing_key() == first
    assert b"PRIVATE KEY" in first.key
    assert b"PRIVATE KEY" not in first.chain
    assert [one.name for one in path.parent.iterdir() if one.suffix == ".tmp"] == []


def test_the_chain_names_nobody_and_can_issue_nothing_more() -> None:
    leaf, issuer = x509.load_pem_x509_certificates(load_signing_key().chain)
    leaf.verify_directly_issued_by(issuer)
    issuer.verify_directly_issued_by(issuer)
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert issuer.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
    words = leaf.subject.rfc4514_string() + issuer.subject.rfc4514_string()
    assert os.uname().nodename not in words or len(os.uname().nodename) < 4
    assert "Faceloom" in words
    # Of the two private keys there is one left, the leaf's.
    assert signer_file().read_bytes().count(b"BEGIN PRIVATE KEY") == 1


def test_threads_that_come_first_together_get_one_key() -> None:
    found: list[SigningKey] = []
    begin = threading.Barrier(8)

    def load() -> None:
        begin.wait()
        found.append(load_signing_key())

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len({one.serial for one in found}) == 1


def test_processes_that_come_first_together_get_one_key() -> None:
    program = "from faceloom.provenance.signer import load_signing_key; print(load_signing_key().serial)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    started = [
        subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    serials = {process.communicate(timeout=120)[0].strip() for process in started}
    assert [process.returncode for process in started] == [0] * 4
    assert serials == {load_signing_key().serial}


def test_a_key_that_has_run_out_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    path = signer_file()
    path.parent.mkdir(parents=True)
    with monkeypatch.context() as then:
        then.setattr(signer, "_YEARS", 0)
        signer._write(path, signer._make())
    old = path.read_bytes()
    assert load_signing_key().key not in old


@pytest.mark.parametrize("content", [b"", b"rubbish", b"-----BEGIN CERTIFICATE-----\nrubbish\n"])
def test_a_damaged_key_is_said_and_never_replaced_in_silence(content: bytes) -> None:
    path = signer_file()
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(UsageError, match="damaged; remove it"):
        load_signing_key()
    assert path.read_bytes() == content


def test_a_folder_that_cannot_be_made_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    monkeypatch.setenv("FACELOOM_DATA", str(blocked))
    with pytest.raises(UsageError, match="--no-provenance"):
        load_signing_key()
