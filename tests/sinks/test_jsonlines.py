"""Records as lines of a file: whole lines only, whatever happened before."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from auditbox.errors import ConfigurationError
from auditbox.sinks.base import Later, Missing, NotSent, Rejected, Sent
from auditbox.sinks.jsonlines import JsonLinesSink

from .conftest import delivery


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that does not exist yet."""
    return tmp_path / "records.jsonl"


def test_each_record_is_one_line(path: Path) -> None:
    """What was posted is what is in the file, readable by its owner only."""
    sink = JsonLinesSink(path, fsync=True)
    assert [sink.send(delivery(n)) for n in range(3)] == [Sent(f"0197-{n}") for n in range(3)]
    assert path.read_bytes() == b"".join(delivery(n).body + b"\n" for n in range(3))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_nothing_is_touched_before_the_first_record(path: Path) -> None:
    """Making a sink leaves no file."""
    sink = JsonLinesSink(path)
    assert sink.verify(delivery(1)) == Missing()
    sink.check()
    assert not path.exists()


def test_the_destination_is_the_files_url(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made absolute once: a change of directory changes nothing."""
    monkeypatch.chdir(path.parent)
    assert JsonLinesSink("./x/../records.jsonl").destination == path.as_uri()


def test_a_body_of_several_lines_becomes_one(path: Path) -> None:
    """Indented JSON is still one record."""
    sink = JsonLinesSink(path)
    entry = delivery(1)
    record = json.loads(entry.body)
    sink.send(entry._replace(body=json.dumps(record, indent=2).encode()))
    assert [json.loads(line) for line in path.read_text().splitlines()] == [record]


@pytest.mark.parametrize(
    ("before", "kept"),
    [
        (b'{"a": 1}\n{"b": ', b'{"a": 1}\n'),
        (b'{"b": ', b""),
        (b'{"b": "' + b"x" * 300_000, b""),
        (b'{"a": 1}', b'{"a": 1}\n'),
        (b"somebody's notes", b"somebody's notes\n"),
        (b'{"a": 1}\n\n', b'{"a": 1}\n\n'),
        (b"\x00" * 100_000, b"\x00" * 100_000 + b"\n"),
    ],
)
def test_a_torn_last_line_never_merges_with_the_next_record(path: Path, before: bytes, kept: bytes) -> None:
    """The beginning of a record, left by a crash, is cut off; anything else is ended and kept."""
    path.write_bytes(before)
    sink = JsonLinesSink(path)
    sink.send(delivery(1))
    sink.send(delivery(2))
    assert path.read_bytes() == kept + delivery(1).body + b"\n" + delivery(2).body + b"\n"


def test_a_torn_record_does_not_count(path: Path) -> None:
    """What a crash left half written is missing, up to its last brace."""
    sink = JsonLinesSink(path)
    body = delivery(1).body
    path.write_bytes(body[:-1])
    assert sink.verify(delivery(1)) == Missing()
    path.write_bytes(body)
    assert sink.verify(delivery(1)) == Sent("0197-1")


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 200_000])
def test_it_is_found_wherever_it_stands(path: Path, size: int) -> None:
    """First, in the middle, last; in lines longer than what is read at once."""
    sink = JsonLinesSink(path)
    for number in range(5):
        sink.send(delivery(number, size=size))
    assert [sink.verify(delivery(n)) for n in range(5)] == [Sent(f"0197-{n}") for n in range(5)]
    assert sink.verify(delivery(5)) == Missing()


def test_an_id_elsewhere_in_a_record_is_not_the_entry(path: Path) -> None:
    """A record that mentions another one's id is not that one."""
    path.write_text('{"summary": "0197-1"}\n{"documents": {"order": {"id": "0197-1"}}}\n["0197-1"]\n')
    assert JsonLinesSink(path).verify(delivery(1)) == Missing()


def test_the_file_may_be_rotated(path: Path) -> None:
    """A new file is begun when the old one has been moved away."""
    sink = JsonLinesSink(path)
    sink.send(delivery(1))
    path.rename(path.with_suffix(".1"))
    sink.send(delivery(2))
    assert path.read_bytes() == delivery(2).body + b"\n"


def test_a_missing_directory_is_not_sent(tmp_path: Path) -> None:
    """The record stays in the outbox; check() says it beforehand."""
    sink = JsonLinesSink(tmp_path / "nowhere" / "records.jsonl")
    outcome = sink.send(delivery(1))
    assert isinstance(outcome, NotSent)
    assert outcome.problem.reason.endswith(os.strerror(errno.ENOENT))
    with pytest.raises(ConfigurationError):
        sink.check()


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """A directory or a pipe is not written to, and does not block."""
    os.mkfifo(tmp_path / "pipe")
    for target in (tmp_path, tmp_path / "pipe"):
        assert isinstance(JsonLinesSink(target).send(delivery(1)), NotSent)
    assert isinstance(JsonLinesSink(tmp_path).verify(delivery(1)), Later)


def test_a_pipe_does_not_block_a_look_up(tmp_path: Path) -> None:
    """Opening a pipe to read would wait for a writer."""
    os.mkfifo(tmp_path / "pipe")
    assert isinstance(JsonLinesSink(tmp_path / "pipe").verify(delivery(1)), Later)


def test_what_is_no_record_is_rejected(path: Path) -> None:
    """A line that could not be read again is not written."""
    assert isinstance(JsonLinesSink(path).send(delivery(1)._replace(body=b"[]")), Rejected)
    assert not path.exists()


def test_a_full_disk_leaves_no_half_record(path: Path) -> None:
    """What does not fit whole is taken back; the size limit of files stands in for the disk."""
    sink = JsonLinesSink(path)
    sink.send(delivery(1))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 50, limits[1]))
        assert isinstance(sink.send(delivery(2)), NotSent)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, previous)
    assert path.read_bytes() == delivery(1).body + b"\n"
    assert sink.send(delivery(2)) == Sent("0197-2")


def test_processes_take_turns(path: Path) -> None:
    """Lines of several processes never mix."""
    script = (
        "import sys\n"
        "from auditbox.sinks.base import Delivery\n"
        "from auditbox.sinks.jsonlines import JsonLinesSink\n"
        "sink = JsonLinesSink(sys.argv[1])\n"
        "for n in range(200):\n"
        "    sink.send(Delivery(n, str(n), 'L', b'{\"n\": \"' + sys.argv[2].encode() * 9000 + b'\"}'))\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", script, path, sign]) for sign in "abc"]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    lines = path.read_text().splitlines()
    assert sorted(json.loads(line)["n"][0] for line in lines) == sorted("abc" * 200)


@pytest.mark.parametrize("path", ["", None, 7, "a\0b"])
def test_a_path_of_no_use_is_one_clear_error(path: object) -> None:
    """Said at construction."""
    with pytest.raises(ConfigurationError, match="path="):
        JsonLinesSink(path)  # type: ignore[arg-type]
