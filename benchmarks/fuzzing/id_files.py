"""Lists of recordings, dressed as people write them: they mean the recordings that they name, or are refused."""

import json
import random
from pathlib import Path

from benchmarks.fuzzing import Case, Wrong
from benchmarks.fuzzing.mutation import mutated_bytes
from tal_jax.data import id_lists
from tal_jax.errors import InputError

KINDS = {"ids": 40, "ids damaged": 15}
IDS = ("v_abc", "-xyz", "video_test_0000001", "P01_01", "a.b", "名前", "x y", "id", "a#3", "r1", "R2", "1")
EXTENSIONS = ("", "", ".mp4", ".npy", ".MP4", ".avi")
ENCODINGS = ("utf-8", "utf-8", "utf-8-sig", "utf-16")


def dressed(id: str, rng: random.Random) -> str:
    """An id as a list of files may have it."""
    text = id.removeprefix("v_") if rng.random() < 0.2 else id
    if rng.random() < 0.15 and not text.startswith(("v_", "#", "-")):
        text = f"v_{text}"
    text += rng.choice(EXTENSIONS) if rng.random() < 0.3 else ""
    if rng.random() < 0.2 and not text.startswith("#"):
        text = rng.choice(("videos/", "./", "C:\\v\\", "/data/x/")) + text
    return rng.choice(("", "", "", "  ")) + text + rng.choice(("", "", "", " ", "\t", " # why"))


def written(ids: list[str], rng: random.Random) -> bytes:
    """A list in one of several layouts and encodings."""
    if rng.random() < 0.25:
        text = json.dumps(ids, ensure_ascii=rng.random() < 0.5, indent=rng.choice((None, 1)))
    else:
        lines = [dressed(id, rng) for id in ids]
        for _ in range(rng.randrange(3)):
            lines.insert(rng.randrange(len(lines) + 1), rng.choice(("", "# damaged", "  ")))
        if rng.random() < 0.2:
            lines.insert(0, rng.choice(("video", "ids", "Filename")))
        text = rng.choice(("\n", "\r\n")).join(lines) + rng.choice(("", "\n"))
    return text.encode(rng.choice(ENCODINGS))


def list_case(rng: random.Random, work: Path) -> None:
    """Every recording that is named is found, and no other."""
    wanted = rng.sample(IDS, rng.randrange(1, 6))
    (work / "ids.txt").write_bytes(written(wanted, rng))
    try:
        entries = id_lists.read(work / "ids.txt", "--blocked")
        found = id_lists.match(entries, IDS, "ids.txt")
    except InputError as e:
        if wanted == ["id"]:  # the name of a column, and nothing below
            raise
        raise Wrong(f"{wanted} was refused: {e}") from e
    odd = set(found.unmatched) - {"video", "ids", "Filename"}
    if set(found.ids) - {"id"} != set(wanted) - {"id"} or odd:
        raise Wrong(
            f"{wanted} was read as {sorted(found.ids)}, without {odd}: {(work / 'ids.txt').read_bytes()!r:.200}"
        )


def damaged_case(rng: random.Random, work: Path) -> None:
    """A damaged list is read or refused; what it names and no recording is, is told."""
    (work / "ids.txt").write_bytes(mutated_bytes(written(rng.sample(IDS, 4), rng), rng))
    entries = id_lists.read(work / "ids.txt", "--blocked")
    found = id_lists.match_any(entries, [IDS], "ids.txt")
    told = id_lists.told(found.unmatched, IDS)
    if not found.ids <= set(IDS) or any("\n" in part or "\x1b" in part for pair in told for part in pair):
        raise Wrong(f"{found.ids}, {told}")


def cases(folder: Path) -> dict[str, Case]:
    """Of good lists, and of damaged ones."""
    return {"ids": list_case, "ids damaged": damaged_case}
