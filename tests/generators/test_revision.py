"""The text of a revision is what is on record in datasets that exist."""

import pytest

from changeling.generators.revision import Revision, is_commit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("text", "revision"),
    [(COMMIT, Revision("commit", COMMIT)), ("files 0123456789ab", Revision("files", "0123456789ab"))],
)
def test_the_recorded_text_of_a_revision_is_read_and_written(text: str, revision: Revision) -> None:
    assert Revision.parse(text) == revision
    assert str(revision) == text


def test_only_the_hash_of_a_commit_is_a_commit() -> None:
    assert is_commit(COMMIT)
    assert not any(is_commit(text) for text in ("", "main", COMMIT[:12], f"files {COMMIT}"))
