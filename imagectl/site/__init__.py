"""The catalog as web pages that people like to read, with feeds and badges.

Promises: the same facts at the same time give the same bytes; no page needs a server, a build chain
or JavaScript; whatever somebody has typed as a reason is shown as text and never obeyed; and what
could not be measured is said to be unknown, never 0 (P8). Pages are made from facts that are handed
in (``sources.py``), and written by whoever asks for them (``adapters/site_folder.py``).
"""
