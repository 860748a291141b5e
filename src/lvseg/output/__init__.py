"""Output: the folder of a study with every format that was asked for, whole or not at all.

The command line, a server and an archive worker write a study by :func:`write_study`.
"""

from lvseg.output.checksums import FolderCheck, check_manifest, study_folders
from lvseg.output.folder import OutputOptions, check_free, chosen_formats, write_study

__all__ = [
    "FolderCheck",
    "OutputOptions",
    "check_free",
    "check_manifest",
    "chosen_formats",
    "study_folders",
    "write_study",
]
