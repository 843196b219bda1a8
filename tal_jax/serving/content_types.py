"""Content types of requests: which of them a model takes, and what is said of the others."""

from collections.abc import Mapping

from tal_jax.deploy.model import Model
from tal_jax.serving.json_bodies import Refused

NPY = ("application/octet-stream", "application/x-npy")
JSON = "application/json"
VIDEO = "video/"  # of which format it is, its content says
UTF8 = ("", "utf-8", "utf8", "us-ascii")


def taken(model: Model) -> list[str]:
    """The content types that a model takes."""
    return [*NPY, JSON, *([f"{VIDEO}*"] if model.takes_videos else [])]


def remedy(model: Model) -> str:
    """What to send, for the end of a line."""
    kinds = [f"{' or '.join(NPY)} (a .npy file of numpy.save)", f"{JSON} (in UTF-8)"]
    if model.takes_videos:
        kinds.append(f"{VIDEO}* (a video)")
    return f"send {', '.join(kinds[:-1])} or {kinds[-1]}"


def kind_of(headers: Mapping[str, str], model: Model) -> str:
    """The content type of a body, without parameters.

    Args:
      headers: of the request, by names in small letters.
      model: that shall detect in the body.

    Raises:
      Refused: 415 where the model takes no such bodies, or where they are in an encoding that is not read.
    """
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        raise Refused(415, f"content-encoding {encoding!r:.40}: send the body as it is")
    if "content-type" not in headers:
        raise Refused(415, f"the request has no Content-Type header: {remedy(model)}")
    kind, _, parameters = headers["content-type"].lower().partition(";")
    kind = kind.strip()
    if kind.startswith(VIDEO) and model.takes_videos:
        return kind
    if kind not in (*NPY, JSON):
        why = "the model has no encoder, or needs more than a video: " if kind.startswith(VIDEO) else ""
        raise Refused(415, f"content-type {kind!r:.80}: {why}{remedy(model)}")
    _, _, charset = parameters.partition("charset=")
    if charset.partition(";")[0].strip(' "') not in UTF8:
        raise Refused(415, f"charset {charset!r:.40}: send UTF-8")
    return kind
