"""Which customers are one: whom any two datasets of a family name otherwise for the same conversation.

A second id may be known from a dataset that nobody trains on. So each dataset is compared once with every other and with the gold
sets, and what was found is kept, as long as the gold sets are: two ids and no more. Comparing reads ids, never texts.
"""

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from data_contracts.artifacts import Dataset
from deploy.operate import lock
from deploy.store import Store
from tasks import catalog, gold

if TYPE_CHECKING:
    import polars as pl

PREFIX, LINKS = "links", "links.parquet"
WHO = ("conversation_id", "group")


class Heads:
    """Names of customers, some of which stand for the same one; of these the first that was given heads the others."""

    def __init__(self, links: Iterable[Iterable[str]] = ()) -> None:
        self._above: dict[str, str] = {}
        for names in links:
            self.join(names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._above)

    def of(self, name: str) -> str:
        """The head of a name: itself where it has no other."""
        root = name
        while self._above.get(root, root) != root:
            root = self._above[root]
        while name != root:  # or a customer of a thousand ids would be walked through a thousand times
            self._above[name], name = root, self._above[name]
        return root

    def join(self, names: Iterable[str]) -> None:
        """These are one customer."""
        heads = list(dict.fromkeys(self.of(name) for name in names))
        self._above.update(dict.fromkeys(heads, heads[0]))


def known(store: Store, family: str) -> Heads:
    """Every customer of the family who has several names. Datasets that were not compared yet are compared now.

    Raises:
        BundleCorrupt: a dataset or a gold set was changed in the store.
    """
    import polars as pl

    with lock.held(store.scratch("locks") / f"{PREFIX}-{family}.lock"):
        datasets = [one for one in catalog.listed(store) if one.family == family]
        new = [one for one in datasets if not store.has(_key(one))]
        if new:
            found = _found(store, family, new, [one for one in datasets if one not in new])
            for one in new:  # each keeps all: another machine may have been first with some of them, and known fewer
                _keep(store, _key(one), found)
    files = [store.local(key) / LINKS for key in store.keys(f"{PREFIX}/{family}")]
    return Heads(pair for file in files for pair in pl.read_parquet(file).iter_rows())


def others(heads: Heads, customers: Iterable[str]) -> tuple[str, ...]:
    """All other names of these customers, in order."""
    own = set(customers)
    wanted = {heads.of(name) for name in own}
    return tuple(sorted(name for name in heads if name not in own and heads.of(name) in wanted))


def _key(dataset: Dataset) -> str:
    return f"{PREFIX}/{dataset.family}/{dataset.id}"


def _found(store: Store, family: str, new: Iterable[Dataset], old: Iterable[Dataset]) -> "pl.DataFrame":
    """Pairs of names that stand for one customer, one of them at least of a new dataset. Each dataset is read once.

    Of two that are compared at the same time on two machines, at least one was there when the other was compared.
    """
    import polars as pl

    seen = pl.DataFrame(schema=dict.fromkeys(WHO, pl.String))
    pairs = [_differing(seen, seen)]
    for one in new:
        calls = catalog.calls_of(store, one, WHO)
        pairs.append(_differing(seen, calls))
        seen = pl.concat([seen, calls.join(seen, on="conversation_id", how="anti")])
    pairs += [_differing(seen, catalog.calls_of(store, one, WHO)) for one in old]
    pairs += [_differing(seen, gold.rows(store, one, WHO)) for one in gold.versions(store, family)]
    return pl.concat(pairs).unique().sort("name", "other")


def _differing(own: "pl.DataFrame", theirs: "pl.DataFrame") -> "pl.DataFrame":
    import polars as pl

    both = own.join(theirs, on="conversation_id", suffix="_there").filter(pl.col("group") != pl.col("group_there"))
    return both.select(pl.col("group").alias("name"), pl.col("group_there").alias("other")).unique()


def _keep(store: Store, key: str, links: "pl.DataFrame") -> None:
    folder: Path = store.scratch(key)
    shutil.rmtree(folder)
    folder.mkdir(parents=True)
    links.write_parquet(folder / LINKS)
    store.commit(folder, key)
