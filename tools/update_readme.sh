#!/usr/bin/env bash
# Rewrites the configuration table of README.md, between its two marker lines, from what the program prints.
#
#   tools/update_readme.sh [--check] [PROGRAM]     --check: changes nothing, exits with 1 if the table is out of date
set -euo pipefail

check=false
if [ "${1:-}" = --check ]; then
    check=true
    shift
fi
program=$(realpath "${1:-"$(dirname "${BASH_SOURCE[0]}")/../build/ddpm_mpi"}")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
begin='<!-- keys: begin (written by tools/update_readme.sh) -->'
end='<!-- keys: end -->'

for marker in "$begin" "$end"; do
    if [ "$(grep -cxF -e "$marker" README.md)" != 1 ]; then
        echo "README.md: expected the line \"$marker\" once" >&2
        exit 1
    fi
done
current=$(mktemp) table=$(mktemp)
trap 'rm -f "$current" "$table"' EXIT
"$program" --keys >"$table"
awk -v begin="$begin" -v end="$end" -v table="$table" '
    $0 == end { inside = 0 }
    !inside { print }
    $0 == begin { inside = 1; while ((getline line <table) > 0) print line }
' README.md >"$current"

if cmp -s "$current" README.md; then
    exit 0
fi
if $check; then
    line=$({ cmp README.md "$current" || true; } | sed 's/.*line //')
    echo "README.md:$line: keys: the table is not what ddpm_mpi --keys prints; run tools/update_readme.sh"
    exit 1
fi
cat "$current" >README.md
echo "README.md: configuration table updated"
