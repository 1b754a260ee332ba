"""What holds for every test, however they were started.

A shell that starts its commands in the background, and many a CI, has SIGINT ignored in them; who
inherits that cannot be stopped by Ctrl-C, and tests that stop a build so would wait for ever.
"""

from __future__ import annotations

import signal

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
