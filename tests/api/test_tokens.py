"""Tokens from strings, files and callables."""

import threading
from pathlib import Path

import pytest

from auditbox.api.tokens import Token
from auditbox.errors import ConfigurationError

GOOD = "idt:TKN-1234-5678:s3cret"


def test_a_string_is_stripped() -> None:
    """White space around a token is not part of it."""
    assert Token(f"  {GOOD}\n").get() == GOOD


@pytest.mark.parametrize(
    "bad", ["", "  \n", f"Bearer {GOOD}", "a\r\nX-Evil: 1", "tok\x00en", "tökén", "a\tb"]
)
def test_what_is_no_token(bad: str) -> None:
    """What no header may hold is refused at construction, without being shown."""
    with pytest.raises(ConfigurationError) as caught:
        Token(bad)
    assert GOOD not in str(caught.value)


def test_a_file_is_read_again(tmp_path: Path) -> None:
    """A file is read at the first use and again when the token is renewed."""
    file = tmp_path / "token"
    token = Token(file)
    file.write_text("first\n")
    assert token.get() == "first"
    file.write_text("second\n")
    assert token.get() == "first"
    assert token.renew("first") == "second"
    assert token.get() == "second"


def test_a_missing_file(tmp_path: Path) -> None:
    """A file that cannot be read is an error that names it, and is tried again the next time."""
    file = tmp_path / "token"
    token = Token(file)
    with pytest.raises(ConfigurationError, match=str(file)):
        token.get()
    file.write_text(GOOD)
    assert token.get() == GOOD


@pytest.mark.parametrize(("held", "wrong"), [("", "is empty"), (" \n", "is empty"), ("a b", "holds a space")])
def test_a_file_that_holds_no_token_is_named(tmp_path: Path, held: str, wrong: str) -> None:
    """There may be several; of a callable it is said that it gave it. What it holds is not shown."""
    file = tmp_path / "token"
    file.write_text(held)
    with pytest.raises(ConfigurationError, match=f"the API token in {file} {wrong}"):
        Token(file).get()
    with pytest.raises(ConfigurationError, match=f"the API token that the callable gave {wrong}"):
        Token(lambda: held).get()


def test_a_callable_is_asked_once() -> None:
    """A callable's answer is kept until it is renewed."""
    answers = iter(["one", "two"])
    token = Token(lambda: next(answers))
    assert [token.get(), token.get(), token.renew("one"), token.get()] == ["one", "one", "two", "two"]


def test_one_renewal_for_all_threads() -> None:
    """Threads that were refused with the same token ask for another one only once."""
    asked: list[int] = []

    def source() -> str:
        asked.append(1)
        return f"token{len(asked)}"

    token = Token(source)
    refused = token.get()
    start = threading.Barrier(8)
    got: list[str] = []

    def renew() -> None:
        start.wait()
        got.append(token.renew(refused))

    threads = [threading.Thread(target=renew) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(got) == {"token2"}


@pytest.mark.parametrize("value", ["", None, 5, "two\nlines"])
def test_a_callable_that_gives_no_token(value: object) -> None:
    """What a callable gives is checked as a string would be."""
    with pytest.raises(ConfigurationError):
        Token(lambda: value).get()  # type: ignore[arg-type,return-value]


def test_a_callable_that_raises() -> None:
    """A callable's own error is named by its type; its text could hold a secret."""

    def source() -> str:
        raise RuntimeError(GOOD)

    with pytest.raises(ConfigurationError, match="RuntimeError") as caught:
        Token(source).get()
    assert GOOD not in str(caught.value)


def test_no_token() -> None:
    """Without a token, asking for it is the error; constructing is not."""
    token = Token(None)
    with pytest.raises(ConfigurationError, match="MPT_API_TOKEN"):
        token.get()


@pytest.mark.parametrize("source", [GOOD, lambda: GOOD])
def test_the_repr_is_masked(source: str) -> None:
    """The repr shows no secret, also after the first use."""
    token = Token(source)
    token.get()
    assert "s3cret" not in repr(token)
