"""The process-wide switches of pydicom and highdicom, with one owner.

Headers of real studies break the standard; we read them as they are and repair what we write
(:mod:`lvseg.write.dicom`). The next study is read in a thread while one is written: switches
that one of them turns back would change under the other, so they are set and stay set.
"""

from __future__ import annotations

import logging
import warnings

_LIBRARIES = ("pydicom", "highdicom")


def suppress_pydicom_warnings() -> None:
    """Take values of DICOM elements as they are, and let no library talk about them, from now on.

    Warnings and logs of these libraries quote names of patients. To be called wherever DICOM is
    read or written; calling it again changes nothing. What we write is checked by our own code,
    value by value, and not by these switches.
    """
    from pydicom import config

    config.settings.reading_validation_mode = config.IGNORE
    config.settings.writing_validation_mode = config.IGNORE
    for name in _LIBRARIES:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    warnings.filterwarnings("ignore", module=rf"({'|'.join(_LIBRARIES)})(\.|$)")
