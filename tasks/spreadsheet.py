"""Tables that a person opens in a spreadsheet."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

FORMULA = r"^[=+\-@\t\r\n＝＋－＠]"  # what Excel, and its East Asian editions, take for the beginning of one


def inert(table: "pl.DataFrame") -> "pl.DataFrame":
    """Cells that a spreadsheet would run as formulas, made plain text by an apostrophe."""
    import polars as pl

    cells = pl.col(pl.String)
    return table.with_columns(
        pl.when(cells.str.contains(FORMULA)).then(pl.lit("'") + cells).otherwise(cells).name.keep()
    )
