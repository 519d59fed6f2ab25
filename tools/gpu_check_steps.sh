# Sourced by tools/gpu_check.sh: runs its steps, each within its time, several at once where asked to, and records what
# came out. It reads $seconds, $tiny, $only, $list, $out and $work.
# shellcheck shell=bash disable=SC2154

set -m # every step is a process group, which a time limit can end as one
names=() pids=() limits=() begins=() outputs=
failures=0

remaining() { echo $((seconds - SECONDS)); }

# record NAME RESULT SECONDS NOTE
record() {
    printf '%-18s %-8s %5s s  %s\n' "$1" "$2" "$3" "$4" | tee -a "$out/results.txt"
    [ "$2" != failed ] || failures=$((failures + 1))
    [ -f "$work/$1.log" ] || return 0
    { echo "==== $1: $2"; tail -c 200000 "$work/$1.log"; echo; } >>"$out/logs.txt"
    [ "$2" != failed ] || tail -n 8 "$work/$1.log" | cut -c 1-200 | sed 's/^/    /'
}

wanted() { [ -z "$only" ] || [[ "$only" == *",$1,"* ]]; }

# start NAME LIMIT FUNCTION [ARGUMENT]...: begins a step; its standard output's last line is the table's note.
start() {
    local name=$1 limit=$2 left
    shift 2
    wanted "$name" || return 0
    if $list; then
        printf '%-18s at most %s s\n' "$name" "$limit"
        return 0
    fi
    left=$(remaining)
    if [ "$left" -lt 10 ]; then
        record "$name" skipped 0 "no time left"
        return 0
    fi
    ! $tiny || limit=$((8 * limit))
    [ "$limit" -le "$((left - 3))" ] || limit=$((left - 3))
    outputs=$work/outputs/$name # a folder of its own: steps may run at the same time
    mkdir -p "$outputs"
    "$@" >"$work/$name.log" 2>&1 </dev/null &
    names+=("$name") pids+=($!) limits+=("$limit") begins+=("$SECONDS")
}

end_group() {
    kill -TERM -- "-$1" 2>/dev/null
    sleep 2
    kill -KILL -- "-$1" 2>/dev/null
}

# collect: waits for all steps begun, ends those beyond their limit, records all.
collect() {
    local i name pid status took note result late
    for i in "${!names[@]}"; do
        name=${names[i]} pid=${pids[i]} late=false
        while kill -0 "$pid" 2>/dev/null; do
            if [ $((SECONDS - begins[i])) -ge "${limits[i]}" ]; then
                late=true
                end_group "$pid"
                break
            fi
            sleep 0.1
        done
        status=0
        wait "$pid" 2>/dev/null || status=$?
        took=$((SECONDS - begins[i]))
        note=$(grep -v '^[[:space:]]*$' "$work/$name.log" | tail -n 1 | cut -c 1-160)
        case "$late:$status" in
        false:0) result=passed ;;
        false:77) result=skipped ;;
        true:*) result=failed note="over its limit of ${limits[i]} s: $note" ;;
        *) result=failed note="exit status $status: $note" ;;
        esac
        record "$name" "$result" "$took" "$note"
    done
    names=() pids=() limits=() begins=()
}

step() {
    start "$@"
    collect
}

skip() {
    echo "skipped: $*"
    exit 77
}
