"""The client of a published catalog: what a consumer can get, verified (P10).

Promises: nothing is believed that is not signed by those whom the root names; nothing older is
taken than what was seen before; it works while every server is down, until signatures run out.

It needs python-tuf, and neither the catalog's database nor a cloud's SDK.
"""
