"""Which clips are packed: annotated segments, whole videos, rows of a CSV file; what is refused and left out."""

import pytest

from tal_jax.data.annotations import Instance, Recording
from tal_jax.errors import InputError
from tal_jax.recognition import clip_lists

HEAD = "classname,youtube_id,subset,start,end,label\n"


def read(tmp_path, text):
    path = tmp_path / "clips.csv"
    path.write_text(text, "utf-8")
    return clip_lists.read_csv(path)


def test_segments_are_numbered_by_where_they_begin():
    recording = Recording(
        "v", "training", 20.0,
        (Instance(5.0, 7.0, "b"), Instance(-1.0, 3.0, "a"), Instance(4.0, 4.0, "a"), Instance(8.0, 8.2, "a")),
    )  # fmt: skip
    clips, notes = clip_lists.segments({"v": recording}, 0.5)
    assert [(c.recording.id, c.begin, c.end, c.recording.labels) for c in clips] == [
        ("v.00000", 0.0, 3.0, ("a",)), ("v.00001", 5.0, 7.0, ("b",))
    ]  # fmt: skip
    assert [note.kind for note in notes] == ["negative start", "degenerate", "short"]
    assert {c.video for c in clips} == {"v"}


def test_rows_of_hacs(tmp_path):
    clips, notes = read(
        tmp_path,
        f"{HEAD}Tai chi,x1,training,4.5,6.5,1\nTai chi,x1,training,0,2,-1\nArchery,x1,training,1,3,1\n"
        '"Archery",y 2,validation,2.0,4.0,1\n,z,testing,0,2,1\n',
    )
    assert [(c.video, c.recording.id, c.recording.subset, c.begin, c.end, c.recording.labels) for c in clips] == [
        ("x1", "x1.00000", "training", 1.0, 3.0, ("Archery",)),
        ("x1", "x1.00001", "training", 4.5, 6.5, ("Tai chi",)),
        ("y 2", "y 2.00000", "validation", 2.0, 4.0, ("Archery",)),
    ]
    assert [note.kind for note in notes] == ["negative clip", "clip without label"]


def test_the_label_may_be_missing(tmp_path):
    clips, _ = read(tmp_path, "\ufeffclassname,youtube_id,subset,start,end\na,x,train,0,2\n")
    assert len(clips) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("classname,id,subset,start,end\na,x,training,0,2\n", r"clips\.csv: no column 'youtube_id'"),
        (f"{HEAD}a,x,training,2,2,1\n", r"row 2: start 2 and end 2: expected seconds"),
        (f"{HEAD}a,x,training,0,two,1\n", r"row 2: end 'two' is not a finite number"),
        (f"{HEAD}a,x,training,0,2\n", None),
        (f"{HEAD}a,x,train ing,0,2,1\n", r"row 2: unknown subset 'train ing'"),
        (f"{HEAD}a,x,training,0,2,2\n", r"row 2: label '2': expected 1, or -1"),
        (f"{HEAD}a,../x,training,0,2,1\n", r"row 2: id '../x' cannot be a file name"),
        (f"{HEAD}a,x,training,0,2,-1\n", r"no clip that shows its class"),
        (f"{HEAD}a,x,training,0,2,1\na,x,validation,0,2,1\n", r"x: clips of training and of validation"),
        (f'{HEAD}"a,x,training,0,2,1\n', r"row \d: unexpected end of data"),
        ("", r"no column 'classname'"),
    ],
)
def test_rows_that_are_wrong(tmp_path, text, message):
    if message is None:
        read(tmp_path, text)
        return
    with pytest.raises(InputError, match=message):
        read(tmp_path, text)
