/* outputs/dashboard.html: one static page that shows a run. It works from file://, loads nothing over a
 * network and reloads itself every 5 s while the run is in progress. */
#ifndef IO_DASHBOARD_H
#define IO_DASHBOARD_H

#include "core/status.h"

/* Writes OUTPUTS/dashboard.html (atomically) for the run OUTPUTS/RUN_NAME from the files the run directory
 * has: status.json, config.json, metrics.json, steps.jsonl and figures; each may be missing. Images are
 * linked relative to OUTPUTS by the run's own name. STATUS_FAILURE when the page cannot be written. Not
 * collective: rank 0 calls it after it has updated the run's files. */
Status dashboard_write(const char *outputs, const char *run_name);

#endif
