"""Where builds get what they download: a proxy that records, and a store of what it recorded (P9).

``supply`` is what a build uses: it decides how the requests are answered that ``proxy`` reads, from
``store`` or, by ``upstream``, from the network. ``authority`` is why the proxy can read https;
``debian`` knows what apt's indexes say of the files that they list.
"""
