"""One recording of a prepared set, and the `tf.train.Example` that it is stored as."""

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from tal_jax.data.images import CHANNELS, JPEG, Images, pillow


@dataclass(frozen=True)
class Record:
    """One recording as stored."""

    id: str
    features: dict[str, Any]  # stream name -> [T, C] in the storage type, read-only; or `Images`, of a packed clip
    stride: float  # seconds per snippet
    duration: float  # seconds
    segments: np.ndarray  # [G, 2] float64 seconds, 0 <= start < end <= duration
    labels: np.ndarray  # [G] int32, into Metadata.labels
    present: np.ndarray  # [L] int32 sorted: every class that it is annotated with, by segments or by label alone
    ignored: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))  # [I, 2] float64 seconds: of classes that do
    # not count, see `checks.ignored`


def record_features(
    labels: tuple[str, ...], streams: Mapping[str, int], dtypes: Mapping[str, str], ignored: bool = False
) -> Any:
    """The `tfds.features.FeaturesDict` of a record, in a set that ignores classes with their segments."""
    import tensorflow_datasets as tfds  # half a second: not for those who only read the metadata

    # encoding="bytes" is twenty times faster than a list of numbers, and keeps float64 what it is
    def tensor(shape: tuple[int | None, ...], kind: type) -> Any:
        return tfds.features.Tensor(shape=shape, dtype=kind, encoding="bytes")

    def stream(width: int, dtype: str) -> Any:
        if dtype != JPEG:
            return tensor((None, width), storage(dtype).type)
        image = tfds.features.Image(shape=(None, None, CHANNELS[width]), encoding_format="jpeg")
        return tfds.features.Sequence(image)  # of a flow field x, then y

    label = tfds.features.ClassLabel(names=list(labels)) if labels else np.int64
    return tfds.features.FeaturesDict(
        {
            "id": tfds.features.Text(),
            "features": {name: stream(width, dtypes[name]) for name, width in streams.items()},
            "stride": tensor((), np.float64),
            "duration": tensor((), np.float64),
            "segments": tensor((None, 2), np.float64),
            "labels": tfds.features.Sequence(label),
            "present": tfds.features.Sequence(label),
            **({"ignored": tensor((None, 2), np.float64)} if ignored else {}),
        }
    )


def encode(spec: Any, record: Record) -> bytes:
    """Serialises a record as a `tf.train.Example`, the same bytes for the same record on every run."""
    from tensorflow_datasets.core.example_serializer import ExampleSerializer

    values = {
        "id": record.id,
        "features": {n: list(x.files) if isinstance(x, Images) else x for n, x in record.features.items()},
        "stride": np.asarray(record.stride, np.float64),
        "duration": np.asarray(record.duration, np.float64),
        "segments": np.asarray(record.segments, np.float64),
        "labels": [int(label) for label in record.labels],
        "present": [int(label) for label in record.present],
        **({"ignored": np.asarray(record.ignored, np.float64)} if "ignored" in spec else {}),
    }
    example = ExampleSerializer(spec.get_serialized_info()).get_tf_example(spec.encode_example(values))
    return example.SerializeToString(deterministic=True)  # protobuf maps have no order of their own


@functools.cache  # one look-up for each record that is read
def storage(dtype: str) -> np.dtype:
    """The type that one of DTYPES names."""
    from ml_dtypes import bfloat16

    return np.dtype(bfloat16 if dtype == "bfloat16" else dtype)


@functools.cache
def _example() -> Any:
    """The message class of `tf.train.Example`, imported with much of TFDS."""
    from tensorflow_datasets.proto import tf_example_pb2

    return tf_example_pb2.Example


def decode(streams: Mapping[str, int], dtypes: Mapping[str, str], data: bytes) -> Record:
    """The inverse of `encode`: reads the `tf.train.Example` itself, which takes a tenth of the time of TFDS's decoder.

    Args:
      streams: number of channels C of each stream by name.
      dtypes: the type that the features of each stream are stored in.
      data: the bytes of one record.

    Raises:
      ValueError: not such a record.
    """
    try:
        values = _example().FromString(data).features.feature
        numbers = {name: values[name].bytes_list.value[0] for name in ("id", "stride", "duration", "segments")}
        return Record(
            id=numbers["id"].decode(),
            features={
                name: _stream(values[f"features/{name}"].bytes_list.value, width, dtypes[name])
                for name, width in streams.items()
            },
            stride=float(np.frombuffer(numbers["stride"], np.float64)[0]),
            duration=float(np.frombuffer(numbers["duration"], np.float64)[0]),
            segments=np.frombuffer(numbers["segments"], np.float64).reshape(-1, 2),
            labels=np.array(values["labels"].int64_list.value, np.int32),
            present=np.array(values["present"].int64_list.value, np.int32),
            ignored=np.frombuffer(_bytes(values, "ignored"), np.float64).reshape(-1, 2),
        )
    except (DecodeError, IndexError, OverflowError) as e:
        raise ValueError(f"not a record of this set: {e}") from e


def _stream(stored: Any, width: int, dtype: str) -> Any:
    """The features of a stream as they are stored: [T, width], or images of `width` channels."""
    if dtype == JPEG:
        return Images(list(stored), width)
    return np.frombuffer(stored[0], storage(dtype)).reshape(-1, width)


def _bytes(values: Any, name: str) -> bytes:
    """A field that not every set has; asking a map of protobuf for a name would add it."""
    return values[name].bytes_list.value[0] if name in values else b""


def import_readers(dtypes: Iterable[str]) -> None:
    """Imports what records with features of these types are read with.

    TFDS imports its parts when they are first used. Two threads that do so at the same time can wait for each other for
    ever; so whoever opens a split does it before any thread reads.
    """
    _example()
    for dtype in dtypes:
        if dtype == JPEG:
            pillow()
        else:
            storage(dtype)
