"""Training and export of models. Needs the optional part ``train``."""
