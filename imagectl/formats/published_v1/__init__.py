"""The tree that consumers read, version 1: its documents and where they are.

::

    catalog.json                                    the entry: catalog, generation, the hash of the
                                                    event that made it, and by image the digests of
                                                    the documents below
    images/IMAGE/DIGEST.index.json                  every published version: its document's digest
    images/IMAGE/channels/DIGEST.CHANNEL.json       what the channel points to, since when, why
    versions/sha256/AB/ABCD....json                 one version: what it is and where to get it

Every document but the entry has the digest of its bytes in its name, and is reached by that digest
from the entry. So replacing ``catalog.json`` switches a reader from one whole state to the next
(P7), and nothing but that file has to be trusted or fetched again (P10). The names are those that
TUF gives to targets, which are to be the indexes and the channel documents; its metadata then takes
the place of the entry.

What one promotion changes is small: a channel document for each image that moves, and the entry.
Only versions that are ready are in the tree (P6). Of those that consumers are warned off, the index
says so under ``warnings``; those that were taken away (revoked, quarantined, deleted) are not among
its ``versions`` any more, so that a reader that does not know of warnings does not find them.

Parsing ignores keys that it does not know, so
that they can be added; anything else that is not as it has to be is Corrupt. So ``origin`` and
``inside`` of a version are there where they are known, and a version recorded before they existed
has the same document as ever. What a reader of format 1 would call Corrupt, a version without a
tree, has a document of format 2: to such a reader, one that it does not know. So has a channel that
points to a revoked version: such a reader must not go on and use it.
"""
