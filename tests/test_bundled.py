"""Configs and studies by path and by name: which file is meant, and what is suggested for what does not exist."""

from pathlib import Path

import pytest

from tal_jax import bundled
from tal_jax.errors import InputError

ROOT = Path(__file__).parents[1]


def same(found, wanted):
    return Path(found).resolve() == wanted.resolve()


def test_names_are_those_of_the_package_wherever_one_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weak_watch").write_text("")
    for room in ("configs", "studies"):
        for path in (ROOT / room).glob("[a-z]*.py"):
            assert same(bundled.locate(room, path.stem), path)
            for text in (f"{room}/{path.name}", f"./{room}/{path.name}"):  # of a checkout, which this is not
                assert same(bundled.locate(room, text), path)


def test_a_file_that_exists_is_meant_by_its_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for text in ("configs/weak_watch.py", "weak_watch.py", "mine", str(tmp_path / "x.txt")):
        Path(text).parent.mkdir(exist_ok=True)
        Path(text).write_text("")
        assert bundled.locate("configs", text) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("supervised_geotek", "supervised_geotek: no such name: did you mean supervised_geotec?"),
        ("configs/weak_watsh.py", "configs/weak_watsh.py: no such file: did you mean weak_watch?"),
        ("weak_watch.py", "weak_watch.py: no such file: did you mean weak_watch?"),
        ("other/weak_watch.py", "other/weak_watch.py: no such file: did you mean weak_watch?"),
        ("qqqq", "qqqq: no such name: the package has encoder_hacs, encoders_hacs, onestage, "),
        ("", ": no such name: the package has "),
    ],
)
def test_what_does_not_exist_suggests_the_nearest(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        bundled.locate("configs", text)
    assert str(caught.value).startswith(message)


def test_variants_come_after_a_colon():
    assert bundled.split_variant("a/b.py:full:2") == ("a/b.py", ("full:2",))
    assert bundled.split_variant("a") == ("a", ())
