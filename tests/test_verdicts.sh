#!/usr/bin/env bash
# The recommended sampler, dps_plus and exact draws against four exact posteriors: tools/calibration_table's verdicts.
set -uo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/program.sh" "$@"

cd "$root" || exit 1
tools/calibration_table --quick --output "$work" "$program"
