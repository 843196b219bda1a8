"""How many seconds lie between the snippets of each recording: one number, one of each, or measured."""

import csv
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tal_jax.data.annotation_fields import positive
from tal_jax.data.annotations import Recording, some
from tal_jax.errors import InputError
from tal_jax.tables.text_files import read_text

MEASURED = ("duration", "resized")  # two words for one thing: duration / number of snippets
FIELD = "annotations"
HELP = "seconds per snippet, 'duration', 'annotations', or a CSV file with lines id,stride"


@dataclass(frozen=True)
class Strides:
    """What the user says of the strides of a set."""

    flag: str  # as it was given, for errors and the summary
    one: float | None = None  # seconds per snippet of every recording
    images: float | None = None  # images per snippet, of recordings whose annotations hold `fps`
    listed: Mapping[str, float] | None = None  # by id
    field: bool = False  # every recording's annotations hold `stride`

    @property
    def measured(self) -> bool:
        """Whether a recording's stride is its duration / its number of snippets."""
        return self.one is None and self.images is None and self.listed is None and not self.field

    def of(self, path: str, recordings: Mapping[str, Recording]) -> dict[str, float | None]:
        """Seconds per snippet of every recording by id; None where it is duration / number of snippets.

        Args:
          path: the annotation file of the recordings, for errors.
          recordings: the recordings by id.

        Raises:
          InputError: recordings whose stride is not known; names the first.
        """
        if self.one is not None or self.measured:
            return dict.fromkeys(recordings, self.one)
        found, lacking = {}, []
        for id, recording in recordings.items():
            found[id] = self._of(recording)
            if found[id] is None:
                lacking.append(id)
        if lacking:
            if self.listed is not None:
                what = f"no stride of record {some(lacking)}: add a line id,stride for each"
                raise InputError(f"{self.flag}: {what}")
            name = "stride" if self.field else "fps"
            raise InputError(
                f'{path}: record {some(lacking)}: no positive number "{name}", which {self.flag} needs: add it to '
                "each, or say the strides in another way"
            )
        return found

    def unused(self, recordings: Iterable[Recording]) -> list[str]:
        """Lines on what the annotations say of strides and frame rates and these flags do not use."""
        lines = []
        for name, used, flag in (
            ("fps", self.images is not None, "--images_per_snippet=N"),
            ("stride", self.field, f"--stride={FIELD}"),
        ):
            values = sorted({value for r in recordings if (value := getattr(r, name)) is not None})
            if values and not used:
                said = f"{values[0]:.5g}" + (f" to {values[-1]:.5g}" if len(values) > 1 else "")
                lines.append(f'annotations hold "{name}", {said}: not used ({flag} would)')
        return lines

    def _of(self, recording: Recording) -> float | None:
        if self.images is not None:
            return None if recording.fps is None else self.images / recording.fps
        if self.listed is None:
            return recording.stride
        id = recording.id
        names = (id, f"v_{id}", id.removeprefix("v_"))  # as feature files are named
        return next((self.listed[name] for name in names if name in self.listed), None)


def parse(stride: str | None, images_per_snippet: str | float | None = None) -> Strides:
    """What the two flags say.

    Args:
      stride: a number of seconds, "duration" (or "resized"), "annotations", or the path of a CSV file.
      images_per_snippet: how many images of a video lie between two snippets.

    Raises:
      InputError: none or both of them are given, or the one that is given is none of these.
    """
    if (stride is None) == (images_per_snippet is None):
        both = (
            "not both"
            if stride is not None
            else "seconds per snippet, images per snippet with fps annotated, or features of launch.encode"
        )
        raise InputError(f"give one of --stride and --images_per_snippet: {both}")
    if stride is None:
        flag = f"--images_per_snippet={images_per_snippet}"
        if (images := positive(images_per_snippet)) is None:
            raise InputError(f"{flag}: expected a positive number of images")
        return Strides(flag, images=images)
    flag = f"--stride={stride}"
    if stride in MEASURED:
        return Strides(flag)
    if stride == FIELD:
        return Strides(flag, field=True)
    if os.path.isfile(stride):
        return Strides(flag, listed=_read(stride))
    seconds = positive(stride)
    if seconds is None or "/" in stride:
        raise InputError(f"{flag}: expected {HELP}")
    return Strides(flag, one=seconds)


def _read(path: str) -> dict[str, float]:
    """The strides by id in a file of two columns, separated by comma, semicolon or tab; a header is skipped."""
    lines = read_text(path, "--stride").splitlines()
    try:
        separator = next((s for s in "\t;," if any(s in line for line in lines)), ",")
        rows = list(csv.reader(lines, delimiter=separator))
    except csv.Error as e:
        raise InputError(f"--stride={path}: not readable ({e}): give {HELP}") from e
    found: dict[str, float] = {}
    for n, row in enumerate(rows):
        cells = [cell.strip() for cell in row]
        if not any(cells):
            continue
        value = positive(cells[1]) if len(cells) == 2 else None
        if value is None:
            if n == 0 and len(cells) == 2 and not any(map(str.isdigit, cells[1])):
                continue  # a header
            raise InputError(f"{path}: line {n + 1}: {','.join(cells)!r:.60} is not id,stride: correct it")
        if cells[0] in found:
            raise InputError(f"{path}: line {n + 1}: record {cells[0]!r:.60} comes twice: keep one of them")
        found[cells[0]] = value
    return found
