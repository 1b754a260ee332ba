"""The documents that consumers read, version 1.

::

    catalog.json                        which catalog, at which generation, by which event, when
    images/IMAGE/index.json             every published version: its document's digest; and those
                                        that were deleted
    images/IMAGE/warnings.json          every other version that consumers are warned off; absent
                                        where there is none
    images/IMAGE/channels/CHANNEL.json  what the channel points to, since when, why
    announcements.json                  what is coming: moves and ends of support; absent where
                                        there is nothing
    versions/sha256/AB/ABCD....json     one version: what it is and where to get it

All but the last are targets of TUF: who signs which, and under which names they are kept, is in
``formats.tuf_roles``. A version's document is reached by the digest that an index or a channel
names. So replacing the signed timestamp switches a reader from one whole state to the next (P7),
and nothing but that has to be fetched again (P10).

What one promotion changes is small: a channel document for each image that moves. A revocation
changes the warnings, which are apart from the index and from channels, so that it does not wait for
whoever signs those. Only versions that are ready are in the tree (P6).

Parsing ignores keys that it does not know, so that they can be added; anything else that is not as
it has to be is Corrupt. ``origin`` and ``inside`` of a version, and the ``url`` of a placement, are
there where they are known; a version without them has the same document as ever. What a reader of
format 1 would call Corrupt, a version without a tree, has a document of format 2: to such a reader,
one that it does not know.
"""
