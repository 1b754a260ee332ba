from __future__ import annotations

from pathlib import Path

from imagectl.adapters.toolchain import packages_digest, recipe_digest


def root(folder: Path, *packages: tuple[str, str]) -> Path:
    status = folder / "var/lib/dpkg/status"
    status.parent.mkdir(parents=True)
    status.write_text(
        "\n".join(
            f"Package: {name}\nStatus: install ok installed\nArchitecture: amd64\n"
            f"Version: {version}\nDescription: a package\n of: many lines\n"
            for name, version in packages
        )
    )
    return folder


def test_the_digest_is_that_of_the_packages_versions(tmp_path: Path) -> None:
    first = root(tmp_path / "1", ("a", "1"), ("b", "2"))
    same = root(tmp_path / "2", ("b", "2"), ("a", "1"))
    other = root(tmp_path / "3", ("a", "1"), ("b", "2.1"))
    assert packages_digest(first) == packages_digest(same)
    assert packages_digest(first) != packages_digest(other)


def test_the_recipe_names_its_folder() -> None:
    assert recipe_digest() == recipe_digest()
    assert len(recipe_digest()) == 64
