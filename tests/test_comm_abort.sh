#!/usr/bin/env bash
# One rank ends the job while the others wait in a collective: its exit status, and soon.  test_comm_abort.sh TEST_COMM
set -uo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
status=0
SECONDS=0
timeout -k 5 40 "$here/mpirun.sh" 3 "$1" abort || status=$?
[ "$status" -ne 77 ] || exit 77
[ "$status" -eq 2 ] || { echo "FAILED: expected exit status 2, found $status"; exit 1; }
[ "$SECONDS" -le 10 ] || { echo "FAILED: the job ended after $SECONDS s, expected at most 10"; exit 1; }
echo ok
