"""Make a corpus: python -m platform.corpus embedded."""

from ..errors import explained
from . import embedded

if __name__ == "__main__":
    with explained():
        print(embedded())
