"""One style for every plot: the Okabe-Ito palette, which every kind of colour vision tells apart; drawing to files."""

from types import ModuleType

from .errors import UserError

BLUE, VERMILION, GREEN, PURPLE, ORANGE, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "0.75"
STOCK, FFC, CONTROL = BLUE, VERMILION, GREEN  # the classifiers that plots compare; CONTROL is one LayerNorm


def check_matplotlib() -> None:
    """For callers with a long way to go before they draw.

    Raises:
        UserError: matplotlib is missing.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise UserError(f"the plots need matplotlib ({error}); run: pip install -e '.[diagnosis]'") from error


def pyplot() -> ModuleType:
    """matplotlib's pyplot, which draws to files and opens no window.

    Raises:
        UserError: matplotlib is missing.
    """
    check_matplotlib()
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot

    return matplotlib.pyplot
