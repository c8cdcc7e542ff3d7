"""What an error of somebody else's says is cut between words, and says that it is cut."""

from changeling.errors import one_line


def test_a_long_message_is_cut_at_a_word() -> None:
    assert one_line(ValueError("short,\n  on two lines")) == "short, on two lines"
    assert one_line(ValueError("a message that goes on and on"), 20) == "a message that..."
    assert one_line(ValueError("exactly twenty chars"), 20) == "exactly twenty chars"
    assert one_line(ValueError("/" + 300 * "x"), 20) == "/" + 16 * "x" + "..."
