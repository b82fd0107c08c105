"""A small part of `python tests/torture/fuzz.py`, the cases that are kept, and the faults that it found, one by one."""

from __future__ import annotations

import io
import json
import shutil
import sys
import time
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent / "torture"))

import fuzz

from mage_edu import MAGEAgent
from mage_edu.agent import continue_run
from mage_edu.engine.recorded import read_arrays, write_arrays
from mage_edu.engine.storage import evaluation_curve, read_json, read_rows, read_sealed, write_sealed


@pytest.mark.parametrize("times", [3, pytest.param(12, marks=pytest.mark.slow)])
def test_damage_that_knows_the_format_is_refused_with_a_sentence_or_harmless(times):
    counts = {name: times * reader.share for name, reader in fuzz.READERS.items()}
    found, faults = fuzz.fuzz(counts, seed=1, sample=5)
    assert not faults, "\n".join(faults)
    assert sum(tally["refused"] for tally in found.values()) > 12 * times


def test_the_cases_that_are_kept_come_out_as_before():
    rows, wrong = fuzz.corpus_rows(), []
    with fuzz.prepared() as files:
        for row in rows:
            outcome = fuzz.one_case(files, fuzz.READERS[row["reader"]], fuzz.unpacked(row), False)
            if outcome.is_fault or outcome.kind != row["outcome"].partition(" ")[0]:
                wrong.append((row["reader"], row["outcome"], outcome))
    assert len(rows) > 40 and fuzz.CORPUS.stat().st_size < 40_000
    assert not wrong


def test_the_fuzzer_sees_what_it_is_to_see(monkeypatch):
    """Readers with mistakes: another error, a sentence without the file, too long, too much memory, a file believed that is another."""
    mistakes = {
        "not our error: KeyError": lambda at: {}["x"],
        "the sentence names no file": lambda at: (_ for _ in ()).throw(ValueError("no")),
        "longer than": lambda at: [None for _ in iter(int, 1)],
        "another agent from a damaged file": lambda at: json.loads((at / "run/config.json").read_bytes()),
        "bytes of memory": lambda at: bytes(5_000_000) and None,
    }
    with fuzz.prepared() as files:
        true = fuzz.READERS["config.json"]
        for expected, use in mistakes.items():
            reader = fuzz.Reader(true.name, true.file, use)
            data = files.whole[files.at / true.file].replace(b'"seed": 3', b'"seed": 4')
            if expected == "bytes of memory":  # the reader gives back another thing, which is the first to be told
                files.prints[true.name] = fuzz.print_of(None)
            outcome = fuzz.measured(files, reader, data)
            assert expected in outcome.kind, (expected, outcome)
            assert outcome.is_fault


def test_a_reader_is_timed_without_counting_its_memory_and_what_happens_once_is_no_fault():
    calls = []

    def slow_while_counted(at):
        end = time.process_time() + 1.5 * tracemalloc.is_tracing()
        while time.process_time() < end:
            pass
        return "the same"

    def large_once(at):
        calls.append(len(bytes(0 if calls else 20_000_000)))
        return "the same"

    with fuzz.prepared() as files:
        true = fuzz.READERS["config.json"]
        for use in (slow_while_counted, large_once):
            files.prints[true.name] = fuzz.print_of("the same")
            reader = fuzz.Reader(true.name, true.file, use, False)
            assert fuzz.one_case(files, reader, files.whole[files.at / true.file], True).is_fault
            calls.clear()
            assert fuzz.measured(files, reader, files.whole[files.at / true.file]).kind == "loaded"
    assert calls[0] > 0 and set(calls[1:]) == {0}


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "[" * 101 + "]" * 101,
        '{"a":' * 500 + "1" + "}" * 500,
        "9" * 5000,
        "1e999",
        "[NaN]",
        '{"a": -Infinity}',
        '"\\q"',
        "",
    ],
    ids=lambda text: text[:12],
)
def test_json_that_json_does_not_know(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="a.json: expected JSON"):
        read_json(path)
    path.write_text("[" * 100 + "]" * 100)
    assert read_json(path)


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("step,return\n1," + "9" * 200_000 + "\n", "field larger than"),
        ("step,step\n1,2\n", "no name twice"),
        ("\n", "expected a header"),
        ("step,episode\n1,2\n", "column return is missing"),
        ("step,return\n1,a\n", "holds 'a', expected a finite number"),
        ("step,return\n1,1e999\n", "holds inf"),
        ("step,return\n,1\n", "holds nan"),
    ],
)
def test_tables_that_are_none(tmp_path, text, sentence):
    (tmp_path / "evaluations.csv").write_text(text)
    with pytest.raises(ValueError, match=f"evaluations.csv.*{sentence}"):
        read_rows(tmp_path / "evaluations.csv")
        evaluation_curve(tmp_path)


def npz(content: dict[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", how) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return stream.getvalue()


def npy(header: str, data: bytes = bytes(80)) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + data


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000,)}\n",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-2, -5)}\n",
        "{'descr': '|O', 'fortran_order': False, 'shape': (10,)}\n",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (10,\n",
        "(" * 900 + "\n",
    ],
    ids=["80 GB", "negative", "objects", "open", "deep"],
)
def test_arrays_that_claim_what_they_are_not(tmp_path, header):
    path = tmp_path / "rows.npz"
    path.write_bytes(npz({"obs.npy": npy(header)}))
    with pytest.raises(ValueError, match="rows.npz: cannot be read"):
        read_arrays(path)
    path.write_bytes(npz({"obs.npy": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (10,)}\n")}))
    assert np.array_equal(read_arrays(path)["obs"], np.zeros(10))
    with pytest.raises(ValueError, match="another way than numpy"):
        path.write_bytes(npz({"obs.npy": b""}, zipfile.ZIP_LZMA))
        read_arrays(path)


def test_arrays_are_read_as_numpy_wrote_them(tmp_path):
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.asfortranarray(np.arange(6).reshape(2, 3)), "c": np.zeros((0, 3)), "d": np.array(2.5)}  # fmt: skip
    write_arrays(tmp_path / "whole.npz", arrays)
    read = read_arrays(tmp_path / "whole.npz")
    assert all(np.array_equal(read[name], array) and read[name].dtype == array.dtype for name, array in arrays.items())
    assert {name: array.shape for name, array in read.items()} == {name: array.shape for name, array in arrays.items()}


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    with fuzz.quick():
        fuzz.begin(folder, "Pendulum-v1")
    return folder


@pytest.fixture
def run(whole_run, tmp_path):
    return Path(shutil.copytree(whole_run, tmp_path / "run"))


MANIFESTS = {
    "chunks that gape": (lambda content: content["chunks"].pop(1), "do not lead to the rows"),
    "a chunk of halves": (lambda content: content["chunks"].__setitem__(0, [0.0, 5]), "do not lead to the rows"),
    "rows that nobody added": (lambda content: content.update(added=13), "do not lead to the rows"),
    "a step as a word": (lambda content: content.update(step="12"), "step '12': expected int"),
    "a table without a digest": (lambda content: content["tables"].update({"metrics.csv": 5}), "list of tables"),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifests_of_the_wrong_kinds_are_told(run, name):
    change, sentence = MANIFESTS[name]
    path = run / "checkpoint" / fuzz.MANIFEST
    content = read_sealed(path)
    change(content)
    write_sealed(path, content)
    with pytest.warns(UserWarning, match=f"{sentence}.*step 10 is used instead"):
        continue_run(MAGEAgent.load(run))


def test_a_checkpoint_without_its_oldest_rows_is_refused(run):
    """Sealed, and without a gap; but the buffer held more, and zeros would take their places."""
    path = run / "checkpoint" / fuzz.MANIFEST
    content = read_sealed(path)
    del content["files"][f"replay-{0:09d}-{5:09d}.safetensors"], content["chunks"][0]
    write_sealed(path, content)
    with pytest.raises(ValueError, match="begins with row 5, and the buffer held row 4 too"):
        continue_run(MAGEAgent.load(run))


NUMBERS = {
    "episodes": 1.5,
    "updates": -1,
    "dynamics_rounds": "3",
    "num_timesteps": 11,
    "episode_length": 3,
    "recorder.counts.critic_loss": 0,
}


@pytest.mark.parametrize("name", NUMBERS)
def test_counters_that_cannot_be_are_refused(run, name):
    agent = MAGEAgent.load(run)
    continue_run(agent)
    state = agent.learner.save()
    wrong = state._replace(facts=state.facts | {"numbers": state.facts["numbers"] | {name: NUMBERS[name]}})
    with pytest.raises(ValueError, match="checkpoint"):
        agent.learner.restore(wrong)
    with pytest.raises(ValueError, match="generator"):
        agent.learner.restore(state._replace(tensors=dict(state.tensors) | {"update_generator": torch.zeros(5056, dtype=torch.uint8)}))  # fmt: skip
    agent.learner.restore(state)


def test_settings_larger_than_the_weights_make_nothing(run):
    """A description that claims ten thousand million units is refused before any of them is made."""
    path = run / "agent" / "agent.json"
    content = read_sealed(path)
    content["config"]["actor_width"] = 10**10
    write_sealed(path, content)
    with pytest.raises(ValueError, match="layers of 10000000000 units; the saved weights do not fit"):
        MAGEAgent.load(run)
