/* SPDX-License-Identifier: Apache-2.0 */
/* What the machine did, for people and for programs: a table of the nodes' counters, fault latencies, the hottest pages. */
#ifndef VMM_REPORT_H
#define VMM_REPORT_H

#include <stdio.h>

#include "dsm/stats.h"
#include "vmm/hotpages.h"
#include "vmm/vm.h"

/* all[map.nodes]. `seconds`: how long the guest ran. `hot`: what names its pages. Pure but for the output. */
void report_print(FILE *out, const struct vm *vm, const struct dsm_stats *all, double seconds, const struct hotpages *hot);
/* -errno of the file, logged. */
CHECKED int report_json(const char *path, const struct vm *vm, const struct dsm_stats *all, double seconds,
			const struct hotpages *hot);
/* One node's counters by name, `read_us` and `write_us` (samples, p50, p99, p999), the histograms and the hottest pages. */
json_t *report_node(const struct dsm_stats *stats, const struct hotpages *hot);

#endif
