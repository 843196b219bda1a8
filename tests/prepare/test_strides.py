"""Seconds per snippet: one number, one of each recording, from frame rates, or duration / number of snippets."""

import pytest

from tal_jax.data.annotations import Recording
from tal_jax.errors import InputError
from tal_jax.prepare.strides import parse


def recordings(**fields):
    return {
        id: Recording(id, "training", 9.0, (), **{name: v[i] for name, v in fields.items()})
        for i, id in enumerate("ab")
    }


def test_one_number_and_duration():
    assert parse("0.5").of("a.json", recordings()) == {"a": 0.5, "b": 0.5}
    for word in ("duration", "resized"):
        assert parse(word).measured
        assert parse(word).of("a.json", recordings()) == {"a": None, "b": None}


def test_images_per_snippet_over_the_frame_rates():
    """4 / 25 = 0.16 s, and 4 / 32 = 0.125 s."""
    assert parse(None, "4").of("a.json", recordings(fps=(25.0, 32.0))) == {"a": 0.16, "b": 0.125}
    with pytest.raises(InputError, match=r'a.json: record b: no positive number "fps", which --images_per_snippet=4'):
        parse(None, "4").of("a.json", recordings(fps=(25.0, None)))


def test_the_field_of_the_annotations():
    assert parse("annotations").of("a.json", recordings(stride=(0.5, 0.25))) == {"a": 0.5, "b": 0.25}
    with pytest.raises(InputError, match=r'record a: no positive number "stride"'):
        parse("annotations").of("a.json", recordings(stride=(None, 0.25)))


@pytest.mark.parametrize(
    "text",
    [
        "a,0.5\nb,0.25\n",
        "id,stride\na,0.5\nb,0.25\nother,3\n",
        "\ufeffa,0.5\r\nb,0.25",
        "id;stride\nv_a;0.5\n\nb;1/4\n",
        "a\t0.5\nb\t0.25\n",
        '"a","0.5"\n"b", 0.25\n',
    ],
)
def test_a_file_of_strides(tmp_path, text):
    path = tmp_path / "strides.csv"
    for encoding in ("utf-8", "utf-16"):  # the second with a byte order mark, as spreadsheets write it
        path.write_bytes(text.removeprefix("\ufeff" if encoding == "utf-16" else "").encode(encoding))
        assert parse(str(path)).of("a.json", recordings()) == {"a": 0.5, "b": 0.25}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,0.5\n", "no stride of record b"),
        ("a,0.5\nb,zero\n", "line 2: 'b,zero' is not id,stride"),
        ("a,0.5\nb,-1\n", "line 2"),
        ("a,0.5\nb,nan\n", "line 2"),
        ("a,0.5,25\n", "line 1"),
        ("a,0.5\na,0.5\n", "line 2: record 'a' comes twice"),
        ("a;0,5\nb;0,25\n", "line 1"),
        ("\xff", "not text in UTF-8"),
        ("", "no stride of record a"),
    ],
)
def test_a_file_that_is_none(tmp_path, text, words):
    path = tmp_path / "strides.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=words) as error:
        parse(str(path)).of("a.json", recordings())
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("stride", "images", "words"),
    [
        (None, None, "give one of --stride and --images_per_snippet"),
        ("0.5", "4", "not both"),
        ("0", None, "--stride=0: expected"),
        ("nan", None, "--stride=nan"),
        ("1_0", None, "--stride=1_0"),  # ten to Python
        ("\u0663", None, "--stride="),  # three to Python
        ("no/such.csv", None, "--stride=no/such.csv: expected seconds"),
        (None, "0", "--images_per_snippet=0"),
        (None, "x", "--images_per_snippet=x"),
    ],
)
def test_exactly_one_of_them(stride, images, words):
    with pytest.raises(InputError, match=words):
        parse(stride, images)
