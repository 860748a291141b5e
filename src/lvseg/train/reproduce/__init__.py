"""The study, run again and honestly: its networks, its split, and one change at a time to ours.

``steps`` says what is run, ``splits`` makes the data, ``run`` trains and goes on, ``score`` judges,
``comparisons`` compares, ``page`` writes the report, ``plan`` says beforehand how long it takes.
"""
