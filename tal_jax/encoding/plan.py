"""What is encoded, by what and how: encoder, weights and sampling, decided from options before a video is opened."""

import dataclasses
from fractions import Fraction
from typing import Any, Literal

import jax
import jax.numpy as jnp

from tal_jax.data import provenance
from tal_jax.encoders import catalogue, trained
from tal_jax.encoders.entry import Encoder
from tal_jax.encoders.weights import Weights
from tal_jax.encoders.weights import read as read_weights
from tal_jax.encoding import recipes
from tal_jax.errors import InputError
from tal_jax.video.clips import Sampling
from tal_jax.video.decode import Times
from tal_jax.video.pixels import BOUND, Flow, FlowMethod, Pixels, Rgb, StoredFlow

IMAGE_RATE = 10.0  # of encoders that see one image at a time, unless said otherwise


@dataclasses.dataclass(frozen=True)
class Options:
    """What is encoded, by what and how; see the flags of `launch.encode`."""

    videos: str  # a folder, or one file
    out: str
    encoder: str = ""
    recipe: str = ""
    weights: str = ""  # a file, or "random"
    family: str | None = None
    rate: float | None = None  # images a second; None: as the recipe says, or the encoder, or the video's own
    own_rate: bool = False  # the video's own in any case
    stride: int | None = None  # images
    interval: int | None = None
    crop: Literal["centre", "ten"] = "centre"
    times: Times | None = None  # of images, see `Video`; None: as the recipe says, or by their stamps
    dtype: str = "float32"
    stored: str = "float32"
    batch_size: int = 0  # clips on a device at a time; 0: as many as hold 32 images
    decoders: int = 0  # videos that are decoded at a time; 0: as many as there are cores
    strict: bool = False
    scores: bool = False  # class scores of the videos as well, see `scores`
    flow: bool = False  # features of optical flow as well, by the encoder whose name has "_flow" behind it
    flow_weights: str = ""  # of that encoder
    flow_family: str | None = None
    flow_method: FlowMethod = "denseflow"  # how flow is computed, for encoders that see it
    flow_images: str = ""  # in its place: a folder of denseflow's folders, one for each video


@dataclasses.dataclass(frozen=True)
class Plan:
    """Options with everything decided."""

    encoder: Encoder
    sampling: Sampling
    rate: float | None
    times: Times
    weights: Weights | None  # None: random ones
    labels: tuple[str, ...]  # classes of the weights' classifier; () where they are not known
    identity: dict[str, Any]
    pixels: Pixels


def plan_both(options: Options) -> tuple[Plan, Options]:
    """The plan of an encoder of images, and the options of the one that sees flow at the same times.

    Args:
      options: with `flow`.

    Raises:
      InputError: see `plan`; or there is no such encoder of flow.
    """
    first = plan(dataclasses.replace(options, flow=False, flow_images=""))
    name = f"{first.encoder.name}_flow"
    if first.encoder.sees_flow or name not in catalogue.names():
        raise InputError(
            f"--flow: there is no {name}: encode both by themselves, with --encoder=NAME and --encoder=NAME_flow, one "
            "stride and one rate"
        )
    _check_weights("flow_weights", options.flow_weights, catalogue.find(name))
    return first, dataclasses.replace(
        options,
        encoder=name,
        recipe="",
        weights=options.flow_weights,
        family=options.flow_family,
        rate=first.rate,
        own_rate=first.rate is None,
        stride=first.sampling.stride,
        interval=options.interval,
        times=first.times,
        flow=False,
        scores=False,
    )


def plan(options: Options) -> Plan:
    """Decides encoder, weights and sampling. Raises InputError: some of them contradict each other, or are missing."""
    recipe = recipes.find(options.recipe) if options.recipe else None
    if recipe and options.encoder not in ("", recipe.encoder):
        raise InputError(f"--recipe={recipe.name} is for {recipe.encoder}, not --encoder={options.encoder}: give one")
    trained_here = trained.about(options.weights)
    own = trained_here.encoder if trained_here else ""
    if not (recipe or options.encoder or own):
        raise InputError("--encoder or --recipe is missing: the network, or the name of published features")
    encoder = catalogue.find(recipe.encoder if recipe else options.encoder or own)
    _check_weights("weights", options.weights, encoder)
    rate = options.rate or (recipe.rate if recipe else (trained_here and trained_here.rate) or encoder.rate)
    if options.own_rate:
        if options.rate is not None:
            raise InputError(f"--rate={options.rate:g} and --own_rate: give one of them")
        rate = None
    elif rate is None and encoder.images == 1:
        rate = IMAGE_RATE
    interval = options.interval or (recipe.interval if recipe else encoder.interval)
    stride = options.stride or (recipe.stride if recipe else encoder.images * interval)
    # A single image is looked at in the middle of the time that it stands for.
    phase = Fraction(1, 2) if encoder.images == 1 and rate is not None else Fraction(0)
    sampling = Sampling(encoder.images, stride, interval, phase, encoder.stack)
    if options.crop != "centre":
        cropped = dataclasses.replace(encoder.preprocessing, crop=options.crop)
        encoder = dataclasses.replace(encoder, preprocessing=cropped)
    times = options.times or (recipe.times if recipe else "stamps")
    weights = None if options.weights == provenance.RANDOM else read_weights(options.weights, encoder, options.family)
    labels = trained_here.labels if trained_here else ()
    if options.scores and not (weights and weights.head and labels):
        raise InputError("--scores: needs --weights=FILE of an encoder that launch.train has trained, with its classes")
    identity = {
        "encoder": encoder.name,
        "weights": weights.sha256 if weights else provenance.RANDOM,
        "rate": rate if rate is not None else "of the video",
        "images": sampling.images,
        "interval": sampling.interval,
        "stride": sampling.stride,
        "phase": float(phase),
        "preprocessing": dataclasses.asdict(encoder.preprocessing),
        "layer": "pooled",
        "width": encoder.width,
        "times": times,
        "flow": _flow_words(options) if encoder.sees_flow else None,
    }
    pixels: Pixels = Rgb(encoder.preprocessing)
    if encoder.sees_flow:
        pixels = (
            StoredFlow(encoder.preprocessing, options.flow_images)
            if options.flow_images
            else Flow(encoder.preprocessing, options.flow_method)
        )
    elif options.flow_images:
        raise InputError(f"--flow_images={options.flow_images}: {encoder.name} sees images: give an encoder of flow")
    return Plan(encoder, sampling, rate, times, weights, labels, provenance.identity_of(identity), pixels)


def _flow_words(options: Options) -> str:
    return "stored images" if options.flow_images else f"tv-l1 {options.flow_method}, +-{BOUND:g}"


def _check_weights(flag: str, given: str, encoder: Encoder) -> None:
    """Raises InputError where no weights are given, with the place where they are published."""
    if not given:
        raise InputError(
            f"--{flag} is missing: weights of {encoder.name} are published at {encoder.weights or 'no place known'} "
            f"({encoder.licence or 'licence unknown'}); --{flag}=random only tries the way"
        )


def variables_of(decided: Plan) -> Any:
    """The variables of the network: the weights that were read, or random ones."""
    if decided.weights is not None:
        return decided.weights.variables
    encoder = decided.encoder
    clip = jnp.zeros((1, encoder.images, encoder.side, encoder.side, encoder.channels))
    return jax.jit(encoder.network(jnp.float32).init)(jax.random.key(0), clip)
