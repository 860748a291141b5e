"""Output: the folder of a study with every format that was asked for, whole or not at all.

The command line, a server and an archive worker write a study by :func:`write_study`.
"""

from lvseg.output.folder import OutputOptions, check_free, chosen_formats, write_study

__all__ = ["OutputOptions", "check_free", "chosen_formats", "write_study"]
