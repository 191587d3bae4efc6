#!/usr/bin/env bash
# Fetches the map's vendored library again, from npm's registry, and checks it.
#
# Usage: scripts/vendor-ui.sh [--check]; with --check it only compares the files that are here with
# the checksums, and fetches nothing. For a new version change all four lines below.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../l7proxy/ui/static/vendor"

package=@dagrejs/dagre@3.1.3
archive=X4aUTwOReZvthaZWOVHqlJ52/ZdhZFEM4+Lh/uR4XooUSLE6p71bcy7MPGzYnNUcNh+nj+i/qJQpCMIdQnSmrg==
library=b0ddaf4af1417bec9bd89373a3a3987f081727d6cc6d95fc40dbf85a19bdf3b0
licence=6a349742a6cb219d5a2fc8d0844f6d89a6efc62e20c664450d884fc7ff2d6015

if [ "${1:-}" != --check ]; then
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    npm pack --silent --pack-destination "$folder" "$package" >/dev/null
    # The registry's own checksum of the archive: base64 of SHA-512.
    [ "$(openssl dgst -sha512 -binary "$folder"/*.tgz | base64 -w0)" = "$archive" ] ||
        { echo "vendor-ui: the archive of $package is not the one that is expected" >&2; exit 1; }
    tar -xzf "$folder"/*.tgz -C "$folder"
    cp "$folder/package/dist/dagre.esm.js" dagre.mjs
    cp "$folder/package/LICENSE" LICENSE
fi
printf '%s  dagre.mjs\n%s  LICENSE\n' "$library" "$licence" | sha256sum --quiet --check
