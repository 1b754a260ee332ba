"""The tree that consumers read: signed, on a directory or any other place for files.

``verified`` reads one and believes nothing that is not signed; ``whose_keys`` says whose signatures
count, and ``composing`` what has to be written next, and signs it; ``publisher`` writes that, in an
order that no reader can come into; ``directory`` is a place for a tree that any web server or file
share can serve. The documents are those of ``formats.published_v1``, the roles those of
``formats.tuf_roles``.
"""
