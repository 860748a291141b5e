"""The switches of pydicom: one owner, and nothing turns them back."""

from __future__ import annotations

import io
import threading
import warnings
from pathlib import Path

import pydicom
from read_maker import image, to_bytes
from seg_maker import study

from lvseg.pydicom_settings import suppress_pydicom_warnings
from lvseg.read.headers import read_headers
from lvseg.read.sources import Blob
from lvseg.write.dicom import repaired_header


class SlowStream(io.BytesIO):
    """A file whose first bytes come only when they are released."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.begun, self.released = threading.Event(), threading.Event()

    def read(self, size: int | None = -1) -> bytes:
        self.begun.set()
        assert self.released.wait(10)
        return super().read(size)


def test_a_reading_thread_changes_nothing_under_a_writer(tmp_path: Path) -> None:
    cine, headers = study(tmp_path)
    config = pydicom.config
    config.settings.reading_validation_mode = config.settings.writing_validation_mode = config.WARN
    stream = SlowStream(to_bytes(image()))
    reader = threading.Thread(target=read_headers, args=(stream, Blob(tmp_path / "next.dcm")))
    reader.start()
    assert stream.begun.wait(10)
    seen = []

    class Watched(dict):  # type: ignore[type-arg]
        """Headers of the source; the reader ends while the writer is at work with them."""

        def __getitem__(self, uid: str) -> object:
            stream.released.set()
            reader.join()
            seen.append(config.settings.reading_validation_mode)
            seen.append(config.settings.writing_validation_mode)
            return super().__getitem__(uid)

    repaired_header(Watched(headers), cine)
    assert set(seen) == {config.IGNORE}


def test_an_invalid_value_is_taken_without_a_word() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        suppress_pydicom_warnings()
        suppress_pydicom_warnings()
        dataset = pydicom.Dataset()
        dataset.StudyInstanceUID = "1.02.3"
        dataset.PatientID = "x" * 80
        assert read_headers(io.BytesIO(to_bytes(image(PixelSpacing=None))), Blob(Path("a.dcm")))
