"""DICOM files in compressed transfer syntaxes, written by GDCM."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory


def recompressed(data: bytes, syntax: str, *, beside: str | None = None) -> bytes:
    """A DICOM file with its pixels in another transfer syntax.

    :param beside: the folder in which GDCM may write; None = the usual one for temporary files.
    """
    import gdcm

    with TemporaryDirectory(dir=beside) as folder:
        plain, packed = Path(folder, "plain.dcm"), Path(folder, "packed.dcm")
        plain.write_bytes(data)
        reader = gdcm.ImageReader()
        reader.SetFileName(str(plain))
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax)))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFileName(str(packed))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        return packed.read_bytes()
