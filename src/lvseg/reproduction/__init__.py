"""Reproduction of the paper lvseg implements: its networks, split and setting, changed by steps.

``ladder`` says what is run, ``offline_augmentation`` and ``splits`` make the data, ``trainer``
trains on whole frames as the paper does, ``run`` runs the ladder or goes on with it, ``score``
measures, ``comparisons`` compares, ``page`` writes the report, ``plan`` estimates the time.
"""
