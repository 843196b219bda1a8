"""The seal of a folder: what each of its files has to be, so that a damaged or exchanged one is never read.

Prepared sets have one, and the folders of stages, see `stages.remembered`. This is how that of a set is used:

`seal.json` has the SHA-256 of every file but the shards. Opening a set checks the small ones; an index is checked when
its split is opened, `proposals.parquet` when it is read. Shards may fill disks, and their digest is that of their
records: the sealed index says how long each record is, so how long the shard, and has its CRC32C, with which the record
is compared whenever it is read. Nothing is read twice for it, and nothing that was read is unchecked.

A seal shows damage and mix-ups. It is no signature: who changes a file on purpose can write another seal.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import google_crc32c

from tal_jax.errors import InputError
from tal_jax.guarded import own_files

REMEDY = "delete the set and run launch.prepare again"
FILE_NAME = "seal.json"
WHEN_READ = (".index.npz", ".parquet")  # ends of the names of files whose digest is checked when they are read
RESTORE = f"restore the file, or {REMEDY}"


@dataclasses.dataclass(frozen=True)
class Seal:
    """What the files of a folder have to be."""

    directory: Path
    digests: Mapping[str, str]  # name -> SHA-256, in hexadecimal digits
    owner: str = "set"  # what the files are of, for messages
    remedy: str = RESTORE  # what to do where one is another

    def read(self, name: str) -> bytes:
        """The content of a file. Raises InputError where it is missing, or not the one that was sealed."""
        path = self.directory / name
        content = own_files.read_bytes(path, self.remedy)
        if hashlib.sha256(content).hexdigest() != self.digests.get(name):
            raise InputError(
                f"{path}: damaged, or of another {self.owner}: not the file that the {self.owner} was sealed with: "
                f"{self.remedy}"
            )
        return content

    def check(self) -> None:
        """Reads all files that are not checked when they are read. Raises InputError, see `read`."""
        for name in self.digests:
            if not name.endswith(WHEN_READ):
                self.read(name)


def read_seal(directory: str | os.PathLike, owner: str = "set", remedy: str = RESTORE) -> Seal | None:
    """The seal of a folder; None where there is none, as in those of before there were seals.

    Args:
      directory: the folder.
      owner: what its files are of, for messages.
      remedy: what to do where one of them is another.

    Raises:
      InputError: the file is damaged.
    """
    path = Path(directory) / FILE_NAME
    if not os.path.lexists(path):
        return None
    content = own_files.read_bytes(path, remedy)
    digests = own_files.member(path, own_files.as_object(path, content, remedy), "sha256", dict, remedy)
    if content != _text(digests):  # the checksum, and every byte that JSON would not mind
        raise InputError(f"{path}: damaged, its checksum does not match: {remedy}")
    if not all(isinstance(digest, str) and own_files.is_plain_name(name) for name, digest in digests.items()):
        raise InputError(f"{path}: damaged, it does not hold the digests of files: {remedy}")
    return Seal(Path(directory), digests, owner, remedy)


def write_seal(path: str | os.PathLike, files: Iterable[Path]) -> None:
    """Writes the seal of a folder.

    Args:
      path: where it is written.
      files: the files that it seals, of a set all but its shards, wherever they lie until it is complete.

    Raises:
      OSError: a file cannot be read, or the disk is full.
    """
    digests = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    Path(path).write_bytes(_text(digests))


def check_file(path: str | os.PathLike) -> None:
    """Compares a file with the seal of the set that it lies in; one that lies in no sealed set is not looked at.

    Raises:
      InputError: it is not the one that was sealed, or the seal is damaged.
    """
    seal = read_seal(Path(path).parent)
    if seal is not None and Path(path).name in seal.digests:
        seal.read(Path(path).name)


def _text(digests: Mapping[str, object]) -> bytes:
    text = json.dumps(digests, sort_keys=True)
    content = {"sha256": digests, "crc32c": google_crc32c.value(text.encode())}
    return (json.dumps(content, indent=1) + "\n").encode()
