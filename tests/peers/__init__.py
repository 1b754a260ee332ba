"""The other ends of locations, run on this machine, for tests.

Real ones where there are, else fakes that refuse what they do not model.
``docs/contributing/peers/`` says what each of them keeps.
"""
