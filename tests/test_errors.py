"""Messages of other libraries are cut between words; every error of ours survives pickling, as Ray needs."""

import pickle

import pytest

from changeling import errors
from changeling.errors import ChangelingError, ImageError, one_line

PLAIN_ERRORS = [ChangelingError, *(error for error in ChangelingError.__subclasses__() if error is not ImageError)]


def test_long_message_is_cut_at_a_word() -> None:
    assert one_line(ValueError("short,\n  on two lines")) == "short, on two lines"
    assert one_line(ValueError("a message that goes on and on"), 20) == "a message that..."
    assert one_line(ValueError("exactly twenty chars"), 20) == "exactly twenty chars"
    assert one_line(ValueError("/" + 300 * "x"), 20) == "/" + 16 * "x" + "..."


def test_every_error_class_is_covered() -> None:
    defined = {value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)}
    assert defined == {*PLAIN_ERRORS, ImageError}


@pytest.mark.parametrize("error_class", PLAIN_ERRORS)
def test_error_survives_pickling(error_class: type[ChangelingError]) -> None:
    copy = pickle.loads(pickle.dumps(error_class("what is wrong")))  # noqa: S301 (our own bytes)
    assert type(copy) is error_class
    assert str(copy) == "what is wrong"


def test_image_error_survives_pickling_with_its_status() -> None:
    copy = pickle.loads(pickle.dumps(ImageError("corrupt", "cannot be decoded")))  # noqa: S301 (our own bytes)
    assert type(copy) is ImageError
    assert (copy.status, str(copy)) == ("corrupt", "cannot be decoded")
