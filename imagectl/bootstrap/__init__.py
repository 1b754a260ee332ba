"""The composition root: settings become wired services. Nothing else knows every adapter.

Everything is imported and made when it is first asked for, so that a verb pays for what it uses:
resolving a channel must not load SQLAlchemy.
"""
