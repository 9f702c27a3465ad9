/* SPDX-License-Identifier: Apache-2.0 */
/* What this host can give as a node. Blocking, any thread, no state; errors are logged. */
#ifndef VMM_FACTS_H
#define VMM_FACTS_H

#include "net/wire.h"
#include "vcpu/cpuid.h"

#define FACT_TSC_STABLE 1u /* wire_facts.kvm_features: the counter's rate is constant, or the host trusts it as its clock */

/* Fills everything but port. -errno: this host cannot be a node. */
CHECKED int facts_collect(struct wire_facts *facts);

void facts_cpuid(const struct wire_facts *facts, struct cpuid_set *set);
void facts_from_cpuid(const struct cpuid_set *set, struct wire_cpuid *out, uint32_t *n);
void facts_to_cpuid(const struct wire_cpuid *in, uint32_t n, struct cpuid_set *set);

#endif
