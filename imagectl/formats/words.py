"""The names that several of our files use, as kinds.

Their parsers are those of ``model/names.py``; the pattern beside them is the same rule in words
that an editor understands (a test generates texts and finds no difference).
"""

from __future__ import annotations

from imagectl.formats.scalars import Text
from imagectl.model.names import (
    MAX_NAME,
    parse_channel_name,
    parse_image_name,
    parse_location_name,
    parse_sha256,
)

NAME_PATTERN = r"^[a-z](-?[a-z0-9])*$"

IMAGE_NAME = Text(parse_image_name, "an image name", NAME_PATTERN, MAX_NAME)
CHANNEL_NAME = Text(parse_channel_name, "a channel name", NAME_PATTERN, MAX_NAME)
LOCATION_NAME = Text(parse_location_name, "a location name", NAME_PATTERN, MAX_NAME)
SHA256 = Text(parse_sha256, "a sha256", r"^(sha256:)?[0-9a-f]{64}$", 71)
