"""A script in the form that submissions use to weigh less: one that unpacks itself and runs what comes out."""

import base64
import lzma

_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}]


def packed(source: str) -> str:
    """``source`` as a program of two lines that does the same; ``__file__`` in it is the packed file."""
    content = lzma.compress(source.encode(), format=lzma.FORMAT_RAW, filters=_FILTERS)
    return (
        "import lzma as L,base64 as B\n"
        f'exec(L.decompress(B.b85decode("{base64.b85encode(content).decode()}"),'
        'format=L.FORMAT_RAW,filters=[{"id":L.FILTER_LZMA2}]))\n'
    )
