"""What a cloud builder made in a location itself: its bytes were never on this machine.

Its artifact, of ``Format.NATIVE``, is a description of it (``formats.native_v1``), and the sha256
of that description stands for it. So only what never changes of the thing is in the description:
where it says the same again, it is the same thing.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Native:
    """One image or template, in its provider's own words.

    ``provider`` is the type of the location (``gce``, ``vsphere``). ``id`` names it for good, as
    the ``provider_id`` of its placements does: another thing under the same name has another one.
    ``link`` is what a consumer is given; ``created`` when it was made, as the provider writes it;
    ``size`` what a machine sees of its disks, in bytes.
    """

    provider: str
    id: str
    link: str
    created: str
    size: int
