from __future__ import annotations

import base64
import json
import mmap
import shutil
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from PIL import Image

from faceloom.comparison.contenders import CONTENDERS, choose_contenders
from faceloom.comparison.curve import PLACES, choose_edit
from faceloom.comparison.document import write_page
from faceloom.comparison.measuring import Record, begin_line, read_records, unpacked
from faceloom.comparison.memory import peak_memory, reset_peak
from faceloom.comparison.plot import Point, scatter
from faceloom.comparison.report import Results, dial_table, pareto, table, verdict
from faceloom.comparison.run import Plan, choose_photos, compare, key_of, label_of
from faceloom.comparison.trials import choose_trials
from faceloom.directions.direction import DirectionSet
from faceloom.errors import UsageError
from faceloom.imaging.photos import open_photo
from faceloom.inversion.dial import DEFAULT_FIDELITY
from faceloom.model import load_model

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PHOTOS = ["a.jpg", "b.jpg", "c.jpg"]


def features(seed: int) -> str:
    row = np.random.default_rng(seed).standard_normal(1280).astype(np.float16)
    return base64.b64encode(row.tobytes()).decode()


def record(photo: str, method: str, error: float, effect: float, seconds: float = 1.0) -> Record:
    return Record(
        photo=photo,
        method=method,
        psnr=20 - 10 * error,
        ms_ssim=1 - error / 2,
        perceptual=error,
        identity=error / 2,
        effects={"age": effect, "smile": 2 * effect},
        edited_identity=error / 2 + 0.1,
        consistency=None,
        w_distance=1.0,
        row_deviation=0.5,
        seconds=seconds,
        cpu_seconds=seconds,
        peak_bytes=2**29,
        steps=5,
        stored_bytes=6000,
        features=[features(hash(photo) % 97), features(hash(method) % 97)],
        photo_features=features(len(photo)),
    )


@pytest.fixture
def records() -> list[Record]:
    found = []
    for index, photo in enumerate(PHOTOS):
        shift = 0.02 * index
        found += [record(photo, "encoder", 0.6 + shift, 10.0), record(photo, "pivotal", 0.2 + shift, 5.0, 60.0)]
        for fidelity in PLACES:
            found.append(record(photo, f"dial-{fidelity:g}", 0.6 - 0.5 * fidelity + shift, 10 - 2 * fidelity))
    return found


def test_the_table_has_a_row_for_each_method(records: list[Record]) -> None:
    rows = table(Results.of(records, PHOTOS)).splitlines()
    assert len(rows) == 2 + 2 + len(PLACES)
    assert all(row.count("|") == rows[0].count("|") for row in rows)
    assert "| encoder alone | 3 | 13.80 | 0.690 | 0.620 | 0.310 | 100 |" in rows[2]
    assert "| 50 |" in next(row for row in rows if "pivotal" in row)


def test_the_dial_is_said_to_fall_only_where_it_falls(records: list[Record]) -> None:
    assert "error falls at each of them" in dial_table(Results.of(records, PHOTOS))
    records.append(record("a.jpg", "dial-1", 0.9, 9.0))
    text = dial_table(Results.of(records, PHOTOS))
    assert "does not fall" in text
    assert "0.370 ± 0.020" in text


def test_the_verdict_compares_the_default_on_the_same_photos(records: list[Record]) -> None:
    text = verdict(Results.of(records, PHOTOS))
    reached, strength = 20 - 10 * (0.62 - 0.5 * DEFAULT_FIDELITY), f"{100 - 20 * DEFAULT_FIDELITY:.0f}%"
    assert f"on the same 3 photos, it is less faithful: PSNR {reached:.2f} against 17.80" in text
    assert f"{strength} as strong as the encoder's (age {strength}, smile {strength})" in text
    assert "1.0 s a face, within 10 s" in text
    better = [record(photo, "pivotal", 0.5, 5.0) for photo in PHOTOS[:2]]
    text = verdict(Results.of([one for one in records if one.method != "pivotal"] + better, PHOTOS))
    assert "on the same 2 photos, it is at least as faithful" in text


def test_effects_are_shares_of_the_encoders_on_the_same_photos(records: list[Record]) -> None:
    results = Results.of(records, PHOTOS)
    assert results.effect("pivotal") == pytest.approx(0.5)
    assert results.effect("pivotal", ["a.jpg"]) == pytest.approx(0.5)
    assert np.isnan(results.effect("hybrid"))
    assert results.frechet("encoder", PHOTOS) > 0


def test_the_plot_shows_points_and_a_line(records: list[Record]) -> None:
    picture = pareto(Results.of(records, PHOTOS))
    assert picture is not None
    assert (picture != 255).any(axis=2).mean() > 0.01
    for wrong in ([], [Point(0.0, float("nan"), "x")]):
        with pytest.raises(ValueError, match="finite"):
            scatter(wrong, "x", "y", "t")
    assert scatter([Point(1.0, 1.0, "only")], "x", "y", "t", size=(300, 200)).shape == (200, 300, 3)


def test_records_survive_and_torn_or_foreign_lines_are_left_out(tmp_path: Path, records: list[Record]) -> None:
    file = tmp_path / "r.jsonl"
    assert read_records(file, "x") == []
    old = json.dumps({**json.loads(records[1].to_json("x")), "version": 0})
    file.write_text(f"{records[0].to_json('x')}\n{records[1].to_json('other')}\n{old}\n{records[2].to_json('x')[:50]}")
    assert read_records(file, "x") == [records[0]]
    assert unpacked(records[0].photo_features).shape == (1280,)


def test_contenders_are_chosen_by_name() -> None:
    assert len({one.name for one in CONTENDERS}) == len(CONTENDERS)
    assert [one.fidelity for one in CONTENDERS if one.is_default] == [DEFAULT_FIDELITY]
    assert [one.name for one in choose_contenders("pn+, encoder")] == ["pn+", "encoder"]
    for wrong in ("magic", ","):
        with pytest.raises(UsageError, match="choose from"):
            choose_contenders(wrong)


def test_photos_are_chosen_fairly_and_repeatably(tmp_path: Path) -> None:
    chosen = choose_photos(EXAMPLES, None)
    assert len(chosen) >= 2
    assert choose_photos(EXAMPLES, 1) == chosen[:1]
    with pytest.raises(UsageError, match="there are no photos in"):
        choose_photos(tmp_path, None)
    Image.new("RGB", (64, 64), "green").save(tmp_path / "meadow.png")
    with pytest.raises(UsageError, match="no face was found"):
        choose_photos(tmp_path, None)
    with pytest.raises(UsageError, match="no folder"):
        choose_photos(tmp_path / "none", None)


def test_trials_without_judged_directions_are_the_first_ones() -> None:
    model = load_model()
    assert {"age", "smile"} <= {trial.direction for trial in choose_trials(model.directions)}
    other = [one for one in model.directions if one.name not in {"age", "smile", "gender"}]
    trials = choose_trials(DirectionSet(other, model.directions.fingerprint))
    assert [trial.direction for trial in trials] == [one.name for one in other[:3]]
    assert all(trial.score == "" for trial in trials)


def test_peak_memory_is_told_where_the_system_can() -> None:
    if not reset_peak():
        pytest.skip("this system does not tell")
    before = peak_memory()
    size = 2**27
    with mmap.mmap(-1, size) as block:  # fresh pages: an allocator may hold on to enough old ones
        for page in range(0, size, mmap.PAGESIZE):
            block[page] = 1
        after = peak_memory()
    assert before is not None
    assert after is not None
    assert after - before > 0.9 * size


def test_a_run_is_measured_once_and_written_down(tmp_path: Path) -> None:
    plan = Plan((EXAMPLES / "portrait.jpg",), "default", tmp_path / "r.jsonl", few=1)
    told: list[str] = []
    for _ in range(2):
        compare(plan, choose_contenders("encoder"), told.append, isolated=False)
    assert told == ["encoder: 1 photos", "encoder: done before"]
    model = load_model()
    found = read_records(plan.results, key_of(model, 1))
    label = label_of(EXAMPLES / "portrait.jpg")
    assert [one.photo for one in found] == [label]
    assert key_of(model, 2) != key_of(model, 1) != key_of(replace(model, encoder=None), 1)
    other = tmp_path / "portrait.jpg"
    shutil.copy(EXAMPLES / "beard.jpg", other)
    assert label_of(other) != label
    assert found[0].psnr > 10
    assert found[0].consistency is not None
    out = tmp_path / "page.md"
    write_page(out, Results.of(found, [label]), plan, model, "faceloom benchmark")
    text = out.read_text(encoding="utf-8")
    assert "| encoder alone | 1 |" in text
    if found[0].effects:
        assert open_photo(tmp_path / "page.png").size == (1100, 700)


def test_a_torn_line_costs_no_other(tmp_path: Path, records: list[Record]) -> None:
    file = tmp_path / "r.jsonl"
    file.write_text(records[0].to_json("x") + "\n" + records[1].to_json("x")[:50])
    begin_line(file)
    begin_line(file)
    with file.open("a") as out:
        out.write(records[2].to_json("x") + "\n")
    assert read_records(file, "x") == [records[0], records[2]]
    with pytest.raises(UsageError, match="cannot keep results"):
        begin_line(tmp_path)


def test_what_a_model_lacks_is_told_in_a_line(tmp_path: Path) -> None:
    model = load_model()
    bare = replace(model, encoder=None)
    plan = Plan((EXAMPLES / "portrait.jpg",), "default", tmp_path / "r.jsonl", few=1)
    told: list[str] = []
    with patch("faceloom.comparison.run.load_model", lambda _: bare):
        compare(plan, choose_contenders("encoder"), told.append, isolated=False)
    assert len(told) == 1
    assert told[0].startswith("encoder: left out: ")
    none = replace(model, directions=DirectionSet([], model.generator.fingerprint))
    with patch("faceloom.comparison.run.load_model", lambda _: none), pytest.raises(UsageError, match="no directions"):
        compare(plan, choose_contenders("encoder"), told.append, isolated=False)
    with pytest.raises(UsageError, match="no directions"):
        choose_edit(none.directions)
