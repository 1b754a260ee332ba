"""What consumers are given that the catalog has left (P1).

Where a channel's move waits for people's signatures, the published trees go on saying what it
pointed to before. That is what its consumers use, for as long as it takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from imagectl.errors import NotFound
from imagectl.model.names import ChannelName
from imagectl.model.version import VersionRef
from imagectl.services.ports.published import PublishedTree


def still_shown(trees: Iterable[PublishedTree]) -> Mapping[VersionRef, frozenset[ChannelName]]:
    """What the trees say of channels that wait for signatures, as they were read last.

    Where nothing waits, it costs a look at each tree's lists. Raises what a tree raises that cannot
    be read.
    """
    found: dict[VersionRef, frozenset[ChannelName]] = {}
    for tree in trees:
        try:
            images = tree.images()
        except NotFound:
            continue  # nothing is published there
        for image in images:
            for channel in filter(tree.waits, tree.channels(image)):
                head = tree.head(image, channel)
                if head is not None:
                    ref = VersionRef(head.image, head.version)
                    found[ref] = found.get(ref, frozenset()) | {channel}
    return found
