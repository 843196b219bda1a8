"""Bodies of requests: damaged, hostile and good ones; what is accepted is what NumPy and Python read."""

import io
import json
import random
from pathlib import Path

import numpy as np

from benchmarks.fuzzing import Case, Wrong
from benchmarks.fuzzing.mutation import mutated_bytes, mutated_tree
from benchmarks.hostile_bodies import JSON, NPY
from tal_jax.deploy.model import Model
from tal_jax.serving.content_types import JSON as JSON_KIND
from tal_jax.serving.content_types import NPY as NPY_KINDS
from tal_jax.serving.requests import Query, recording

KINDS = {"body json": 20, "body npy": 15, "query": 10}
SNIPPETS = 40  # of one request at most
SIZES = (10, 300, 5000, 100_000)


def _model() -> Model:
    """What a request is checked against; nothing is computed."""
    model = Model.__new__(Model)
    model.path, model.labels, model.stride, model.needs, model.stages = Path(), ("a", "跳"), 0.5, (), ()
    model.streams, model._has_encoder = {"x": 3, "y": 1}, False
    return model


def json_case(rng: random.Random, work: Path) -> None:
    """What is accepted is what Python's json reads."""
    x = [[rng.uniform(-9, 9), rng.randrange(100), 0.0] for _ in range(rng.randrange(1, SNIPPETS))]
    y = [[rng.choice((0, -1.5, 1e30))] for _ in x]
    given = {
        "features": {"x": x, "y": y}, "stride": 0.25, "duration": 8.0, "class_scores": {"a": 0.5, "跳": 1},
        "proposals": {"segments": [[0.0, 1.0]], "scores": [0.5]},
    }  # fmt: skip
    kind = rng.randrange(4)
    if kind == 0:
        given = mutated_tree(given, rng)
    body = json.dumps(given, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
    if kind == 1:
        body = mutated_bytes(body, rng)
    if kind == 2:
        body = JSON[rng.choice(list(JSON))](rng.choice(SIZES))
    known = recording(_model(), JSON_KIND, body, Query(), max_snippets=SNIPPETS)
    features = json.loads(body)["features"]
    expected = [features["x"], features["y"]] if isinstance(features, dict) else [features]
    for found, array in zip(known.streams, expected, strict=True):
        if not np.array_equal(found, np.array(array, np.float64).astype(np.float32)):
            raise Wrong("other features than in the body")


def npy_case(rng: random.Random, work: Path) -> None:
    """What is accepted is what NumPy reads."""
    file = io.BytesIO()
    dtype = rng.choice(("<f4", ">f8", "f2", "i4", "?"))
    np.save(file, np.random.default_rng(rng.randrange(99)).normal(size=(rng.randrange(1, 30), 4)).astype(dtype))
    kind = rng.randrange(4)
    body = file.getvalue()
    if kind == 0:
        body = mutated_bytes(body[:128], rng) + body[128:]
    if kind == 1:
        body = mutated_bytes(body, rng)
    if kind == 2:
        body = NPY[rng.choice(list(NPY))](rng.choice(SIZES))
    known = recording(_model(), NPY_KINDS[0], body, Query(), max_snippets=SNIPPETS)
    if not np.array_equal(known.streams[0], np.load(io.BytesIO(body), allow_pickle=False)):
        raise Wrong("other features than in the file")


def query_case(rng: random.Random, work: Path) -> None:
    """Parameters that are accepted are numbers within their bounds."""
    names = ("stride", "duration", "top", "min_score", "Stride", "", "\n")
    values = ("1", "0.5", "-1", "nan", "inf", "1e999", "", "\u0661", "1_0", "0x1", "9" * 5000, " 1", "\0", "true")
    given = [(rng.choice(names), rng.choice(values)) for _ in range(rng.randrange(4))]
    query = Query.of(given)
    body = b'{"features": [[1, 2, 3, 4]]}'
    known = recording(_model(), JSON_KIND, body, query, max_snippets=SNIPPETS)
    if not (0 < known.stride < 1e10 and 0 < known.duration < 1e10) or (query.top is not None and query.top < 1):
        raise Wrong(f"{given} was accepted")


def cases(folder: Path) -> dict[str, Case]:
    """Of JSON, of `.npy`, and of parameters."""
    return {"body json": json_case, "body npy": npy_case, "query": query_case}
