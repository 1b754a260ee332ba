from __future__ import annotations

from imagectl.adapters.toolchain import recipe_digest


def test_the_recipe_has_one_digest() -> None:
    assert recipe_digest() == recipe_digest()
    assert len(recipe_digest()) == 64
