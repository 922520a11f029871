"""Who has seen a gold set: every candidate that answered it, judged or not, since the best of many is partly luck.

A candidate is an adapter. Its merged and quantized forms answer together, and are one look; each of its bundles that the
gate judges is one, such as that of another form or calibration.
"""

from collections import Counter

from deploy.store import Store


def answered(store: Store, gold_digest: str, adapter: str) -> None:
    """Note that an adapter, named by its digest, is about to answer this gold set."""
    store.write(f"looks/{gold_digest}/{adapter}", b"")


def judged(store: Store, gold_digest: str, adapter: str, bundle: str) -> int:
    """Note that a bundle made of this adapter is about to be judged; how many looks there are, this one included."""
    answered(store, gold_digest, adapter)
    store.write(f"looks/{gold_digest}/{adapter}.{bundle}", b"")
    names = (key.rpartition("/")[2] for key in store.keys(f"looks/{gold_digest}"))
    notes = Counter(name.partition(".")[0] for name in names)
    return sum(max(1, count - 1) for count in notes.values())
