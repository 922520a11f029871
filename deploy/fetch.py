"""`python -P -m deploy.fetch DIGEST… --store s3://… --home H --into DIR`: bundles on this machine, verified, before a service starts.

What a pod's init container runs: the service's own container then needs no credentials of the store. Each bundle lies where the store's
cache keeps it, DIR/cache/bundles/DIGEST with its verdict beside it; one that is there whole is not fetched again.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from data_contracts.artifacts import BundleRef
from data_contracts.errors import BundleCorrupt, TingsuError
from deploy import bundle, generation
from deploy.store import Store, open_store


def main(argv: Sequence[str]) -> int:
    """Fetch and verify; return the exit code of the error tree. Prints the folders."""
    options = _options(argv)
    try:
        store = open_store(options.store, options.endpoint_url, options.into)
        for digest in options.digest:
            print(fetch(store, digest, options.home), flush=True)
    except TingsuError as error:
        print(f"tingsu: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def fetch(store: Store, digest: str, home: Path) -> Path:
    """The folder of one bundle, of whichever slot; `home` has the keys that are trusted.

    Raises:
        StoreUnavailable: the store does not answer, or has no such bundle.
        BundleCorrupt: a byte of it is not what was committed, or it is another bundle than its name says.
        GateRefused: it has no verdict that lets it serve.
    """
    ref = BundleRef(digest=digest, key=f"bundles/{digest}", synthetic=False)
    folder = bundle.place(store, ref)
    store.verify(ref.key)  # a copy that an earlier start of the pod left damaged is fetched again
    found = _permitted(folder, home)
    if found != digest:
        raise BundleCorrupt(
            f"bundle {digest} of the store holds {found}; it was renamed or replaced. Name the one you mean"
        )
    return folder


def _permitted(folder: Path, home: Path) -> str:
    """The digest of a bundle that may serve."""
    if (folder / generation.FACTS).is_file():
        text = generation.open(folder)
        generation.permit(text, bundle.public_key(home))
        return text.digest
    found = bundle.open(folder)
    bundle.admit(found, home)
    return found.digest


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="deploy.fetch", description="Fetch bundles from a store and verify them.")
    parser.add_argument("digest", nargs="+", help="names a bundle: 64 hexadecimal digits")
    parser.add_argument("--store", required=True, help="s3://BUCKET/PREFIX; credentials come from boto3's usual places")
    parser.add_argument("--endpoint-url", help="of a service that speaks S3")
    parser.add_argument("--home", type=Path, required=True, help="where keys/gate.pub is")
    parser.add_argument("--into", type=Path, required=True, help="the folder whose cache/bundles/ they are put in")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
