"""The message of an `InputError` is one line."""

import pickle

from tal_jax.errors import InputError


def test_a_message_is_one_line():
    """An id with a line break in it, and what libraries say in several lines, made several of it."""
    error = InputError("s.json: record a\nb: not\r\n  readable\u2028: correct it  now")
    assert str(error) == "s.json: record a b: not readable : correct it  now"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
