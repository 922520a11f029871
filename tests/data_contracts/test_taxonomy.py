"""A taxonomy: what is derived from it follows it."""

from data_contracts.taxonomy import load


def test_a_changed_copy_has_a_digest_and_keys_of_its_own() -> None:
    original = load()
    digest, keys, _ = original.digest, original.keys, original.index
    changed = original.model_copy(update={"version": original.version + 1, "categories": original.categories[:-1]})

    assert changed.digest != digest
    assert changed.keys == keys[:-1]
    assert original.model_copy(deep=True).digest == digest == original.digest
