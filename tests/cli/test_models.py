from __future__ import annotations

import functools
import hashlib
import http.server
import json
import os
import runpy
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from faceloom import collection
from faceloom.checkpoints import native
from faceloom.checkpoints.catalog import Entry, RemoteFile, catalogue
from faceloom.checkpoints.installed import find, models_folder
from faceloom.cli.main import main
from faceloom.errors import UsageError
from faceloom.generators.stylegan2 import StyleGAN2, StyleGAN2Config
from faceloom.imaging.photos import open_photo
from faceloom.inversion.likeness import calibration_file
from faceloom.model import forget_models, load_model

ROOT = Path(__file__).resolve().parents[2]
PORTRAIT = ROOT / "examples" / "portrait.jpg"
_FILES = runpy.run_path(str(ROOT / "tests" / "checkpoints" / "psp_files.py"))
Cli = Callable[..., tuple[int, str, str]]
E4E = {"encoder_type": "Encoder4Editing"}


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Calls the program: exit code, standard output, standard error."""
    monkeypatch.setattr("faceloom.settings.keep_memory", lambda: False)
    forget_models()

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["faceloom", *map(str, words)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A tiny checkpoint of e4e's kind: 16 px, 6 layers of 12 numbers."""
    torch.save(_FILES["with_decoder"](E4E), tmp_path / "tiny.pt")
    return tmp_path / "tiny.pt"


def save_direction(path: Path, seed: int = 0, width: int = 12) -> Path:
    torch.save(torch.randn(1, width, generator=torch.Generator().manual_seed(seed)), path)
    return path


def kept() -> set[str]:
    """What lies in the folder of models."""
    return {path.name for path in models_folder().iterdir()} if models_folder().is_dir() else set()


def test_an_imported_checkpoint_edits_photos(cli: Cli, tiny: Path, tmp_path: Path) -> None:
    code, out, err = cli("models", "import", tiny)
    assert (code, err) == (0, "")
    assert out == "tiny: StyleGAN2, 16 px, encoder e4e; use it with --model tiny\n"
    assert cli("models", "import", save_direction(tmp_path / "my_age.pt"))[1].endswith("used with tiny\n")
    picture = tmp_path / "out.png"
    words = ["--age", 2, "--inversion", "encoder", "--paste", "replace", "-o", picture]
    code, out, err = cli("edit", PORTRAIT, "--model", "tiny", *words)
    assert (code, err) == (0, "")
    assert "age +2" in out
    assert open_photo(picture).size == open_photo(PORTRAIT).size
    assert (open_photo(picture).pixels != open_photo(PORTRAIT).pixels).any()
    names = [one["name"] for one in json.loads(cli("directions", "--model", "tiny", "--json")[1])["directions"]]
    assert names == ["age"]


def test_a_record_says_where_a_model_came_from(cli: Cli, tiny: Path) -> None:
    assert cli("models", "import", tiny, "--id", "mine")[0] == 0
    (one,) = [it for it in json.loads(cli("models", "list", "--json")[1]) if it["here"]]
    (source,) = one["sources"]
    assert (source["name"], source["size"]) == ("tiny.pt", tiny.stat().st_size)
    assert source["sha256"] == hashlib.sha256(tiny.read_bytes()).hexdigest()
    assert one["details"]["generator"]["num_ws"] == 6
    folder = Path(cli("models", "path", "mine")[1].strip())
    assert {path.name for path in folder.iterdir()} == {"generator.safetensors", "encoder.safetensors", "model.json"}
    fingerprint = native.load_generator(folder / "generator.safetensors").fingerprint
    assert one["details"]["generator"]["fingerprint"] == fingerprint == load_model("mine").generator.fingerprint


def test_changes_are_found_and_models_deleted(cli: Cli, tiny: Path) -> None:
    cli("models", "import", tiny)
    assert cli("models", "verify")[:2] == (0, "tiny: unchanged\n")
    path = models_folder() / "tiny" / "encoder.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1]))
    code, out, err = cli("models", "verify", "tiny")
    assert code == 2
    assert out == "tiny: encoder.safetensors was changed\n"
    assert err.count("\n") == 1
    assert cli("models", "rm", "tiny")[:2] == (0, "tiny: deleted\n")
    assert kept() == set()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rm", "tiny"], "nothing was imported as 'tiny'"),
        (["rm", "../tiny"], "'../tiny' is no id"),
        (["path", "tiny"], "'tiny' is not here"),
        (["path", "e4e-ffhq"], "`faceloom models get e4e-ffhq` fetches it"),
        (["verify", "tiny"], "'tiny' is not here"),
        (["get", "e4e-fhq", "--yes"], "did you mean 'e4e-ffhq'"),
        (["import", "missing.pt"], "cannot be read: No such file"),
        (["import", "{tiny}", "--id", "default"], "that of the embedded model"),
        (["import", "{tiny}", "--id", "../x"], "is no id"),
        (["import", "{tiny}", "--kind", "psp"], "its opts say that the encoder is e4e, not psp"),
        (["import", "{text}"], "no checkpoint of a known format"),
        (["import", "{critic}"], "this looks like a discriminator"),
        (["import", "{alone}"], "an encoder without its generator"),
        (["import", "{direction}"], "no imported model fits these directions"),
        (["import", "{direction}", "--for", "nothing"], "there is no model 'nothing'"),
    ],
)
def test_wrong_words_give_one_line_and_leave_nothing(
    cli: Cli, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.pt").write_text("hello")
    torch.save({"state_dict": {"b32.fromrgb.weight": torch.ones(1)}}, tmp_path / "critic.pt")
    torch.save(_FILES["checkpoint"](_FILES["tiny_state"](), E4E), tmp_path / "alone.pt")
    save_direction(tmp_path / "direction.pt")
    code, out, err = cli("models", *(word.format(**{p.stem: p for p in tmp_path.glob("*.pt")}) for word in words))
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert kept() == set()


def test_an_id_is_given_once(cli: Cli, tiny: Path) -> None:
    cli("models", "import", tiny)
    code, _, err = cli("models", "import", tiny)
    assert code == 2
    assert "'tiny' is here already; choose another --id" in err
    assert cli("models", "import", tiny, "--id", "second")[0] == 0
    assert kept() == {"tiny", "second"}


def test_what_a_killed_import_left_is_swept_up_once_it_is_old(cli: Cli, tiny: Path) -> None:
    old, new = (models_folder() / f".draft-{word}" for word in ("old", "new"))
    for draft in (old, new):
        draft.mkdir(parents=True)
        (draft / "generator.safetensors").write_bytes(b"half")
    long_ago = time.time() - 25 * 3600
    os.utime(old, (long_ago, long_ago))
    assert cli("models", "import", tiny)[0] == 0
    assert {path.name for path in models_folder().iterdir()} == {".draft-new", "tiny"}


def test_the_kind_of_an_encoder_is_asked_for_where_nothing_tells(cli: Cli, tmp_path: Path) -> None:
    torch.save(_FILES["with_decoder"]({}), tmp_path / "unknown.pt")
    code, _, err = cli("models", "import", tmp_path / "unknown.pt")
    assert code == 2
    assert "(--kind on the command line)" in err
    assert "encoder pSp" in cli("models", "import", tmp_path / "unknown.pt", "--kind", "psp", "--id", "a")[1]
    assert "encoder e4e" in cli("models", "import", tmp_path / "unknown.pt", "--kind", "e4e", "--id", "b")[1]
    (tmp_path / "unknown.pt").rename(tmp_path / "my_e4e.pt")
    assert "encoder e4e" in cli("models", "import", tmp_path / "my_e4e.pt")[1]


def test_directions_are_for_the_model_they_fit_or_the_one_that_is_named(cli: Cli, tiny: Path, tmp_path: Path) -> None:
    cli("models", "import", tiny)
    torch.save({"g_ema": _FILES["_GENERATORS"]["tiny_rosinality"](channels=12)}, tmp_path / "other.pt")
    assert "no encoder" in cli("models", "import", tmp_path / "other.pt")[1]
    path = save_direction(tmp_path / "age.pt")
    code, _, err = cli("models", "import", path)
    assert code == 2
    assert "these directions fit other, tiny; say which they are for with --for ID" in err
    assert cli("models", "import", path, "--for", "tiny")[1].endswith("used with tiny\n")
    wide = save_direction(tmp_path / "wide.pt", width=16)
    code, _, err = cli("models", "import", wide, "--for", "tiny")
    assert code == 2
    assert "made for another generator" in err
    assert cli("models", "import", wide, "--for", "e4e-ffhq")[0] == 0
    code, _, err = cli("edit", PORTRAIT, "--model", "age", "--age", "1", "-o", tmp_path / "x.png")
    assert code == 2
    assert "'age' is a set of directions, not a model" in err


def test_generators_alone_say_what_they_lack(cli: Cli, tmp_path: Path) -> None:
    torch.save({"g_ema": _FILES["_GENERATORS"]["tiny_rosinality"](channels=12)}, tmp_path / "alone.pt")
    cli("models", "import", tmp_path / "alone.pt")
    cli("models", "import", save_direction(tmp_path / "age.pt"))
    words = ["edit", PORTRAIT, "--model", "alone", "--age", "1", "-o", tmp_path / "x.png"]
    code, _, err = cli(*words, "--inversion", "encoder")
    assert code == 2
    assert "needs an encoder, which this model lacks; choose w+" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "x.png").exists()
    assert cli("sample", "--model", "alone", "-o", tmp_path / "s.png", "--count", "2")[0] == 0
    code, _, err = cli(*words[:4], "--age", "1", "-o", tmp_path / "x.png", "--model", "e4e-ffhq")
    assert code == 2
    assert "run `faceloom models get e4e-ffhq`" in err


def test_warnings_are_notes_of_one_line(cli: Cli, tiny: Path, tmp_path: Path) -> None:
    cli("models", "import", tiny, "--id", "e4e-ffhq")
    for name in ("age", "other_age"):
        save_direction(tmp_path / f"{name}.pt", seed=len(name))
    assert cli("models", "import", tmp_path / "age.pt", "--id", "directions-nada")[0] == 0
    code, out, err = cli("models", "import", tmp_path / "other_age.pt")
    assert code == 0
    assert out.startswith("other-age: 1 direction")
    assert err.startswith("note: 'other-age' ")
    assert err.count("\n") == 1


# Published directions, by what the catalogue knows of them


@pytest.fixture
def published(shared_folder: Path) -> Path:
    return shared_folder / "data" / "directions"


def test_published_directions_are_recognised(cli: Cli, published: Path) -> None:
    for name, called in (("e4e_age.pt", "age"), ("nada_hair_length.pt", "hair-length"), ("stit_smile.npy", "smile")):
        code, out, err = cli("models", "import", published / name)
        assert (code, err) == (0, "")
        assert f"1 direction: {called}; used with ffhq-1024, e4e-ffhq, " in out
    code, out, err = cli("models", "import", published / "ganspace_ffhq_pca.pt")
    assert (code, err) == (0, "")
    assert out.startswith("directions-ganspace: 80 directions")
    found = find("nada-hair-length")
    assert found is not None
    assert found.licence == "MIT"
    foreign = published / "stylegan1_interfacegan_age_w.npy"
    assert "no imported model fits" in cli("models", "import", foreign)[2]
    code, _, err = cli("models", "import", foreign, "--for", "e4e-ffhq")
    assert code == 0
    assert "it was probably made for another generator" in err


@pytest.mark.slow
def test_a_full_e4e_checkpoint_edits_a_photo_with_published_directions(
    cli: Cli, tmp_path: Path, shared_folder: Path, published: Path
) -> None:
    path = tmp_path / "e4e_ffhq_encode.pt"
    torch.save(_FILES["full_e4e"](shared_folder / "golden"), path)
    code, out, err = cli("models", "import", path)
    path.unlink()
    assert code == 0
    assert out == "e4e-ffhq: StyleGAN2, 1024 px, encoder e4e; use it with --model e4e-ffhq\n"
    assert err.startswith("note: e4e_ffhq_encode.pt is not the file that the catalogue knows as e4e-ffhq")
    for file in ("e4e_age.pt", "e4e_smile.pt", "e4e_pose.pt", "stit_eyes_open.npy", "nada_beard.pt"):
        assert cli("models", "import", published / file)[0] == 0
    assert cli("models", "verify")[0] == 0
    picture = tmp_path / "out.png"
    code, out, err = cli("edit", PORTRAIT, "--model", "e4e-ffhq", "--age", "2", "--inversion", "encoder", "-o", picture)
    assert (code, err) == (0, "")
    assert "age +2" in out
    assert open_photo(picture).size == open_photo(PORTRAIT).size
    model = load_model("e4e-ffhq")
    assert {"age", "smile", "pose", "eyes-open", "beard"} == set(model.directions.names())
    assert model.directions["age"].vector.shape == (18, 512)
    assert model.spread.shape == (512,)


# Downloads


@pytest.fixture
def host(tmp_path: Path) -> Iterator[str]:
    """A server of the folder `served`."""
    (tmp_path / "served").mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None: ...

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), cast(Any, functools.partial(Quiet, directory=str(tmp_path / "served")))
    )
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def offered(host: str, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny checkpoint under the id "offered" in the catalogue, and where it is served from."""
    served = tmp_path / "served" / "tiny.pt"
    tiny.rename(served)
    file = RemoteFile(
        "tiny.pt",
        "https://example.invalid/tiny.pt",
        served.stat().st_size,
        sha256=hashlib.sha256(served.read_bytes()).hexdigest(),
        sha256_from=("here",),
    )
    object.__setattr__(file, "url", f"{host}/tiny.pt")  # the catalogue itself takes https alone
    entry = Entry("offered", "A tiny one", "encoder", "https://example.invalid", "MIT", "https://mit", (file,), 16)
    monkeypatch.setitem(cast("dict[str, Entry]", catalogue()), "offered", entry)
    return served


def test_get_shows_size_and_licence_then_downloads_and_imports(cli: Cli, offered: Path) -> None:
    code, out, err = cli("models", "get", "offered", "--yes")
    assert (code, err) == (0, "")
    assert out.index("licence:  MIT") < out.index("offered: StyleGAN2, 16 px")
    assert "verified: not its link" in out
    found = find("offered")
    assert found is not None
    assert found.title == "A tiny one"
    assert found.sources[0].url.startswith("http://127.0.0.1")
    download = collection.downloads_folder("offered") / "tiny.pt"
    assert download.read_bytes() == offered.read_bytes()
    assert "is here already" in cli("models", "get", "offered")[2]
    assert cli("models", "verify", "offered")[0] == 0
    download.write_bytes(b"?")
    assert "the download tiny.pt was changed" in cli("models", "verify", "offered")[1]
    assert cli("models", "rm", "offered")[0] == 0
    assert not download.parent.exists()


def test_options_that_mean_nothing_for_a_file_are_refused(cli: Cli, tiny: Path, tmp_path: Path) -> None:
    native.save_generator(tmp_path / "plain.safetensors", StyleGAN2(StyleGAN2Config(16, (8, 8, 8), 8, 12)))
    for option, value, words in (("--kind", "e4e", "holds no encoder"), ("--for", "default", "is a network")):
        code, _, err = cli("models", "import", tmp_path / "plain.safetensors", option, value)
        assert (code, words in err, find("plain")) == (2, True, None)
    code, _, err = cli("models", "import", "/dev/zero")
    assert (code, "is no file" in err) == (2, True)
    assert cli("models", "import", tiny)[0] == 0
    code, _, err = cli("models", "import", save_direction(tmp_path / "a.pt"), "--for", "directions-interfacegan")
    assert (code, "is a set of directions" in err) == (2, True)
    downloads = collection.downloads_folder("tiny")
    (downloads / "within").mkdir(parents=True)
    assert cli("models", "rm", "tiny")[0] == 0
    assert not downloads.exists()


def test_an_imported_model_has_its_own_measure_of_likeness(cli: Cli, tiny: Path) -> None:
    assert cli("models", "import", tiny)[0] == 0
    assert calibration_file("tiny") == models_folder() / "tiny" / "likeness.json"


def test_get_asks_first(cli: Cli, offered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda _: "n")
    code, out, err = cli("models", "get", "offered")
    assert code == 130
    assert "size:" in out
    assert "was not finished was not saved" in err
    assert find("offered") is None
    assert not collection.downloads_folder("offered").exists()
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda _: "y")
    assert cli("models", "get", "offered")[0] == 0


def test_wrong_or_missing_bytes_leave_nothing_behind(cli: Cli, offered: Path) -> None:
    right = offered.read_bytes()
    offered.write_bytes(right[:-1] + b"?")
    code, _, err = cli("models", "get", "offered", "--yes")
    assert code == 2
    assert "served other bytes than the expected ones" in err
    offered.write_bytes(right[:-1])
    assert "another file" in cli("models", "get", "offered", "--yes")[2]
    offered.unlink()
    assert "answered 404" in cli("models", "get", "offered", "--yes")[2]
    left = [path.name for path in collection.downloads_folder("offered").iterdir()]
    assert left == [".tiny.pt.lock"]
    assert kept() == set()
    offered.write_bytes(right)
    assert cli("models", "get", "offered", "--yes")[0] == 0


def test_what_was_downloaded_is_not_fetched_again(cli: Cli, offered: Path) -> None:
    folder = collection.downloads_folder("offered")
    folder.mkdir(parents=True)
    offered.rename(folder / "tiny.pt")
    assert cli("models", "get", "offered", "--yes")[0] == 0


# The catalogue


def test_the_catalogue_is_in_order() -> None:
    for name, entry in catalogue().items():
        assert entry.licence
        assert entry.licence_url.startswith("https://")
        assert (entry.resolution is None) == (entry.kind == "directions")
        for other in entry.pairs_with:
            assert name in catalogue()[other].pairs_with
        assert len({file.name for file in entry.files}) == len(entry.files)
    wanted = {"ffhq-1024", "ffhq-256", "stylegan3-t-ffhq", "stylegan3-r-ffhq", "metfaces", "afhq-cat", "e4e-ffhq"}
    assert wanted | {"psp-ffhq", "restyle-e4e-ffhq", "directions-stit"} <= set(catalogue())


def test_the_list_shows_what_is_not_verified(cli: Cli) -> None:
    out = cli("models", "list")[1]
    assert "not verified: link and sha256" in out
    listed = {one["id"]: one for one in json.loads(cli("models", "list", "--json")[1])}
    assert set(listed) == set(catalogue())
    assert listed["e4e-ffhq"]["files"][0]["sha256"].startswith("2ace1d9a")
    assert listed["ffhq-256"]["files"][0]["sha256"] is None
    assert not any(one["verified"] for one in listed.values())


@pytest.mark.parametrize(
    "change",
    [{"name": "../x"}, {"url": "http://a/x"}, {"sha256": "12"}, {"sha256": "a" * 64, "sha256_from": ()}],
)
def test_malformed_entries_are_refused(change: dict[str, Any]) -> None:
    right: dict[str, Any] = {"name": "x", "url": "https://a/x", "sha256": "a" * 64, "sha256_from": ("b",)}
    assert RemoteFile(**right).name == "x"
    with pytest.raises(ValueError, match="the catalogue"):
        RemoteFile(**{**right, **change})


def test_unknown_entries_are_named() -> None:
    with pytest.raises(UsageError, match="the catalogue has no 'nothing'"):
        collection.get("nothing")
