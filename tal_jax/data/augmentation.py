"""Augmentation: random changes of the features of a training row, by which a model meets more people and sensors."""

import dataclasses

import numpy as np

from tal_jax.windows import Normalization

Part = tuple[int, ...]  # channels of a device: x, y, z, x, y, z, ..
Device = tuple[Part, ...]  # what turns together, with one rotation

HALF_TURNS = tuple(np.diag(signs) for signs in ((1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)))


@dataclasses.dataclass(frozen=True)
class Turning:
    """What is rotated, and what not."""

    devices: tuple[Device, ...] = ()  # each has a rotation of its own
    told: tuple[str, ...] = ()  # lines on what turns, and on what does not, with the reasons


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What a training row's features go through, in this order; a part that is 0 is left out and draws nothing."""

    rotation: float = 0.0  # of three-axis sensors, in radians: see `random_rotation`
    half_turns: bool = False  # and before by none or half a turn about x, y or z, each as likely
    triaxial: Turning = Turning()
    gain: float = 0.0  # scales all features of a row by exp(gain * a standard normal)
    shift: float = 0.0  # standard deviation of an offset per channel that a row has throughout
    noise: float = 0.0  # standard deviation of Gaussian noise, in units of the (normalised) features

    @property
    def turns(self) -> bool:
        """Whether rows are rotated, as far as they hold what can be."""
        return bool(self.rotation or self.half_turns)

    def __call__(
        self, x: np.ndarray, rng: np.random.Generator, normalization: Normalization | None = None
    ) -> np.ndarray:
        """Changes one row.

        Args:
          x: [n, C] float32 features of the row, normalised or not.
          rng: the generator of this row alone.
          normalization: how `x` was normalised, as sensors turn in their own units; None if it was not.

        Returns:
          [n, C] float32.
        """
        if self.triaxial.devices and self.turns:
            x = x.copy()
            for device in self.triaxial.devices:
                matrix = random_rotation(self.rotation, self.half_turns, rng)
                for part in map(list, device):  # all else stays as it is, to the last bit
                    own = None if normalization is None else normalization.of(part)
                    raw = x[:, part] if own is None else own.undone(x[:, part])
                    vectors = np.ascontiguousarray(raw).reshape(len(x), -1, 3)
                    turned = (vectors @ matrix.T).reshape(len(x), -1)
                    x[:, part] = turned if own is None else own(turned)
        if self.gain:
            x = x * np.float32(np.exp(rng.normal(0, self.gain)))
        if self.shift:
            # Another person, another mount of the sensor: what is constant in a recording is not what to learn.
            x = x + rng.normal(0, self.shift, (1, x.shape[1])).astype(np.float32)
        if self.noise:
            x = x + rng.normal(0, self.noise, x.shape).astype(np.float32)
        return x


def random_rotation(deviation: float, half_turns: bool, rng: np.random.Generator) -> np.ndarray:
    """A random rotation: its vector (axis times angle) has three normal components.

    Everybody wears a sensor differently, and all that a device measures turns with it (Um et al., 2017, "Data
    augmentation of wearable sensor data").

    Args:
      deviation: standard deviation of the components of the rotation, in radians.
      half_turns: before that, none or half a turn about x, y or z, each as likely: a phone upside down in a pocket, or
        with its screen to the other side.
      rng: the generator to draw with.

    Returns:
      [3, 3] float32, by Rodrigues' formula: I + sin(a) K + (1 - cos(a)) K^2.
    """
    vector = rng.normal(0, deviation, 3)
    angle = max(float(np.linalg.norm(vector)), 1e-12)
    x, y, z = vector / angle
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    matrix = np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k
    if half_turns:
        matrix = matrix @ HALF_TURNS[rng.integers(len(HALF_TURNS))]
    return matrix.astype(np.float32)
