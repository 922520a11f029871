"""What a transcript looks like before it is cleaned: whose turns it has, and how much of it is no speech at all.

Cleaning mends what it can, so that afterwards nobody sees that half of a call was one sentence over and over. Measured on columns,
a part of the file at a time.
"""

from typing import TYPE_CHECKING

from tasks.turns import SPEAKERS

if TYPE_CHECKING:
    import polars as pl

MEASURES = (
    "customer_turns",
    "agent_turns",
    "same_speaker_run",
    "empty_share",
    "repeated_share",
    "cjk_share",
    "symbol_share",
    "mojibake_share",
)
LEAST_TURNS = 4  # fewer have no share of repeated or empty ones worth a word
LEAST_MARKS = 2  # 璇 is in names
LEAST_CHARS = 4  # 好的, 嗯嗯: said again and again in any call
_CUSTOMER, _AGENT = ("|".join(name for name, who in SPEAKERS.items() if who == side) for side in ("customer", "agent"))
_TURN = rf"(?i)^\s*({_CUSTOMER}|{_AGENT})\s*[:：]"
_CUSTOMERS_TURN = rf"(?i)^\s*(?:{_CUSTOMER})\s*[:：]"
_SYMBOL_RUN = r"[^\w\s]{4,}"
# UTF-8 read as GBK: 我 and what follows it become 鎴 and more, a pair of bytes whose first begins a Chinese character in UTF-8.
_AS_GBK = "".join(
    bytes((first, second)).decode("gbk", "ignore")
    for first in (*range(0xE3, 0xEA), 0xEF)
    for second in range(0x80, 0xC0)
)
# UTF-8 read as Latin-1 or Windows-1252: 你 becomes ä½\xa0.
_AS_LATIN = r"[\u00e3-\u00ef][\u0080-\u00bf\u0152-\u0192\u2018-\u203a€™]"
_MOJIBAKE = f"[{_AS_GBK}]|{_AS_LATIN}"


def measure(texts: "pl.Series") -> "pl.DataFrame":
    """`MEASURES` of each text, as Float64. Of turns only where the text names speakers: how many each has, the longest run of turns of
    one of them, the share without words, the share that says what an earlier turn said. Of characters: the share of Chinese ones
    among letters and digits, of those in runs of symbols, of those that a wrong decoding leaves behind."""
    import polars as pl

    text = pl.col("text")
    table = texts.alias("text").to_frame().with_row_index("at")
    chars, marks = text.str.len_chars().cast(pl.Float64), text.str.count_matches(_MOJIBAKE)
    rest = text.str.replace_all(r"\p{Han}+", "")  # a run at a time: counting every character takes three times as long
    chinese = chars - rest.str.len_chars()
    of_chars = table.select(
        "at",
        (chinese / (chinese + rest.str.count_matches(r"\w"))).alias("cjk_share"),
        (1 - text.str.replace_all(_SYMBOL_RUN, "").str.len_chars() / chars).alias("symbol_share"),
        (pl.when(marks >= LEAST_MARKS).then(marks).when(marks.is_not_null()).then(0) / chars).alias("mojibake_share"),
    )
    both = of_chars.join(_of_turns(table), on="at", how="left", maintain_order="left")
    return both.select(pl.col(name).cast(pl.Float64).fill_nan(None) for name in MEASURES)


def _of_turns(table: "pl.DataFrame") -> "pl.DataFrame":
    """Of the texts that name speakers: at, and the measures of turns."""
    import polars as pl

    lines = (
        table.filter(pl.col("text").str.contains(_TURN)).with_columns(pl.col("text").str.split("\n")).explode("text")
    )
    turns = lines.filter(pl.col("text").str.contains(_TURN)).select(
        "at",
        pl.col("text").str.contains(_CUSTOMERS_TURN).alias("customer"),
        pl.col("text").str.replace(_TURN, "").str.strip_chars(" ，,。.？?！!").alias("said"),
    )
    goes_on = (pl.col("at") == pl.col("at").shift()) & (pl.col("customer") == pl.col("customer").shift())
    key = pl.col("said").hash() ^ (pl.col("at").cast(pl.UInt64) * 0x9E3779B1)
    marked = turns.with_columns(
        (~goes_on).fill_null(True).cum_sum().alias("run"),
        (pl.col("said") == "").alias("empty"),
        (~key.is_first_distinct() & (pl.col("said").str.len_chars() >= LEAST_CHARS)).alias("repeated"),
    )
    longest = marked.group_by("run").agg(pl.col("at").first(), pl.len()).group_by("at").agg(pl.col("len").max())
    counted = marked.group_by("at").agg(
        pl.col("customer").sum().alias("customer_turns"),
        (~pl.col("customer")).sum().alias("agent_turns"),
        pl.when(pl.len() >= LEAST_TURNS).then(pl.col("empty").mean()).alias("empty_share"),
        pl.when(pl.len() >= LEAST_TURNS).then(pl.col("repeated").mean()).alias("repeated_share"),
    )
    return counted.join(longest.rename({"len": "same_speaker_run"}), on="at")
