"""The file of API keys, and the rate of each."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from changeling.errors import ChangelingError
from changeling.server.limits.keys import ApiKey, KeyRing, add_key, read_keys


def test_a_file_holds_hashes_of_keys_only(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    keys = {name: add_key(path, name, rate) for name, rate in (("desk", 60), ("page", 5))}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not any(key in path.read_text() for key in keys.values())
    ring = KeyRing(read_keys(path))
    found = [ring.find(key) for key in (keys["desk"], keys["page"], keys["desk"][:-1], "")]
    assert [(key.name, key.requests_per_minute) if key else None for key in found] == [
        ("desk", 60),
        ("page", 5),
        None,
        None,
    ]


@pytest.mark.parametrize("name", ["", "two words", "#x", "desk"])
def test_a_name_is_one_new_word(name: str, tmp_path: Path) -> None:
    add_key(tmp_path / "keys", "desk", 1)
    with pytest.raises(ChangelingError, match="name"):
        add_key(tmp_path / "keys", name, 1)


@pytest.mark.parametrize("text", ["", "# nothing\n", "a b\n", f"a {'0' * 63} 1\n", f"a {'0' * 64} 0\n", "\xff"])
def test_a_file_without_valid_keys_is_an_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(text, encoding="latin-1")
    with pytest.raises(ChangelingError, match="keys"):
        read_keys(tmp_path / "keys")


def test_requests_are_allowed_again_at_the_rate_of_a_key() -> None:
    now = 0.0
    key = ApiKey("desk", "0" * 64, 30)
    ring = KeyRing([key], lambda: now)
    assert [ring.take(key) for _ in range(30)] == [0.0] * 30
    assert ring.take(key) == pytest.approx(2.0)
    now = 2.1
    assert ring.take(key) == 0.0
    assert ring.take(key) > 0
    now = 10_000.0
    assert [ring.take(key) for _ in range(31)].count(0.0) == 30


@pytest.mark.parametrize("text", ["", "# of the newsroom\n", f"# old\nold {'0' * 64} 9"])
def test_a_key_is_added_to_what_a_file_has(text: str, tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(text)
    key = add_key(path, "desk", 60)
    assert path.read_text().startswith(text)
    assert KeyRing(read_keys(path)).find(key) is not None
    assert len(path.read_text().splitlines()) == len(text.splitlines()) + 1
