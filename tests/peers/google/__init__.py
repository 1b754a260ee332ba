"""Google Compute Engine and Cloud Storage on 127.0.0.1, for tests.

:func:`peers.google.peer.google` starts one. What it keeps of the real ones, and where that is
known from, is said in ``docs/contributing/peers/google.md``; all the rest is answered with 501.
"""
