#!/usr/bin/env bash
# Checks what compilers and tests do not: prints "file:line: rule: text" for each finding, exits with 1 if any.
# Rules of the C sources: tools/lint_source.py. Here: formatting, shell syntax, machine paths, file sizes.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

max_file_bytes=1048576
findings=$(mktemp)
trap 'rm -f "$findings"' EXIT

# Tracked files and new ones that are not ignored; without git, everything but what .gitignore names.
if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
    mapfile -t files < <(git ls-files -co --exclude-standard)
else
    mapfile -t files < <(find . -path './build*' -prune -o -path ./data -prune -o -path ./outputs -prune -o -type f -print |
        sed 's|^\./||')
fi
present=() sources=() scripts=()
for file in "${files[@]}"; do
    [ -f "$file" ] && [ ! -L "$file" ] || continue
    present+=("$file")
    case "${file##*/}" in
    *.c | *.h | *.cu | *.cuh | *.cpp) sources+=("$file") ;;
    *.sh) scripts+=("$file") ;;
    *.*) ;;
    *) read -r first <"$file" 2>/dev/null
        case "$first" in '#!'*bash | '#!'*/sh) scripts+=("$file") ;; esac ;;
    esac
done

printf '%s\n' "${sources[@]}" | python3 tools/lint_source.py >>"$findings"

format_note=""
if command -v clang-format >/dev/null; then
    printf '%s\0' "${sources[@]}" | xargs -0 -n 8 -P "$(nproc)" clang-format --dry-run -Werror 2>&1 |
        sed -n 's/^\([^ :]*:[0-9]*\):[0-9]*: error: .*/\1: format: run clang-format -i/p' |
        awk -F : '!seen[$1]++' >>"$findings"
else
    format_note=" (clang-format is not here: formatting not checked)"
fi

for script in "${scripts[@]}"; do
    bash -n "$script" 2>&1 | sed "s|^\([^:]*\): line \([0-9]*\): |\1:\2: shell: |" >>"$findings"
done

# Brackets keep the patterns from matching this file.
machine='(^|[^[:alnum:]_.])/([w]ork|[f]arm|[h]ome|[r]oot)/|(^|[^[:alnum:]])([d]eb\.debian|[r]egistry\.[a-z]|[p]ypi\.|[f]iles\.[p]ython)'
printf '%s\0' "${present[@]}" | xargs -0 grep -HInE "$machine" |
    sed 's|^\([^:]*:[0-9]*\):|\1: machine: |' >>"$findings"

printf '%s\0' "${present[@]}" | xargs -0 stat -c '%s %n' | while read -r size file; do
    [ "$size" -le "$max_file_bytes" ] || echo "$file:1: size: expected at most $max_file_bytes bytes, found $size"
done >>"$findings"

cat "$findings"
count=$(wc -l <"$findings")
echo "lint: ${#present[@]} files, $count findings$format_note"
[ "$count" -eq 0 ]
