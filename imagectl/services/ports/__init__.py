"""What the services need from the outside world. Each port's docstring is its contract.

Errors are those of :mod:`imagectl.errors`. A port says which error means "it is not there"
(:class:`~imagectl.errors.NotFound`) and which means "could not tell"
(:class:`~imagectl.errors.CannotTell`); an implementation never turns one into the other.
Implementations are in ``imagectl.adapters`` and, in memory, in ``imagectl.testing``; one contract
suite in ``tests/contract`` runs over all implementations of a port.
"""
