#!/usr/bin/env bash
# Rewrites the table of docs/configuration.md, between its two marker lines, from what the program prints.
#
#   tools/update_configuration_table.sh [--check] [PROGRAM]     --check: changes nothing, exits with 1 if the table is out of date
set -euo pipefail

check=false
if [ "${1:-}" = --check ]; then
    check=true
    shift
fi
program=$(realpath "${1:-"$(dirname "${BASH_SOURCE[0]}")/../build/ddpm_mpi"}")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
begin='<!-- keys: begin (written by tools/update_configuration_table.sh) -->'
end='<!-- keys: end -->'
page=docs/configuration.md

for marker in "$begin" "$end"; do
    if [ "$(grep -cxF -e "$marker" $page)" != 1 ]; then
        echo "$page: expected the line \"$marker\" once" >&2
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
' $page >"$current"

if cmp -s "$current" $page; then
    exit 0
fi
if $check; then
    line=$({ cmp $page "$current" || true; } | sed 's/.*line //')
    echo "$page:$line: keys: the table is not what ddpm_mpi --keys prints; run tools/update_configuration_table.sh"
    exit 1
fi
cat "$current" >$page
echo "$page: table updated"
