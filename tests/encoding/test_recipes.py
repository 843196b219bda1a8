"""Every recipe is one that can be run, of an encoder that the catalogue has."""

import dataclasses

import pytest

from tal_jax.encoders import catalogue
from tal_jax.encoding import plan, recipes
from tal_jax.errors import InputError


@pytest.mark.parametrize("recipe", recipes.RECIPES, ids=lambda recipe: recipe.name)
def test_a_recipe_can_be_planned(recipe):
    assert recipes.find(recipe.name) is recipe
    planned = plan.plan(plan.Options(videos="", out="", recipe=recipe.name, weights="random"))
    assert planned.encoder is catalogue.find(recipe.encoder)
    assert (planned.sampling.stride, planned.sampling.interval) == (recipe.stride, recipe.interval)
    assert planned.identity["rate"] == (recipe.rate or "of the video")


def test_the_features_that_tcanet_was_published_with():
    planned = plan.plan(plan.Options(videos="", out="", recipe="hacs_slowfast", weights="random"))
    assert (planned.rate, planned.sampling.images, planned.sampling.stride, planned.encoder.width) == (15, 32, 8, 2304)


def test_the_own_rate_of_a_video():
    """The encoder's rate is for those who say nothing."""
    options = plan.Options(videos="", out="", encoder="i3d", weights="random")
    assert plan.plan(options).rate == 25.0
    assert plan.plan(dataclasses.replace(options, own_rate=True)).rate is None
    with pytest.raises(InputError, match="--rate=15 and --own_rate: give one"):
        plan.plan(dataclasses.replace(options, own_rate=True, rate=15.0))
