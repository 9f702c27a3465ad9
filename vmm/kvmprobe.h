/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Does /dev/kvm of this host run guest kernels? That it opens says little: some KVMs run guest user
 * mode natively and emulate guest kernel mode at about a million instructions a second, and a stock
 * kernel dies in that emulator. So a loop of 300 000 rounds runs at CPL 0 in 64-bit mode and is timed:
 * natively (also under another emulator, as in a QEMU host) a round takes a few nanoseconds.
 *
 * kvmprobe() makes a VM of its own with one vCPU, and all of it is gone when it returns. It blocks for
 * a few milliseconds, and at most about KVMPROBE_LIMIT_NS: a timer's signal, blocked in this thread but
 * for KVM_RUN, ends a guest that does not. No handler is installed and no other thread is
 * touched; any thread may call, several at once too. Nothing is logged: the caller has the sentence.
 */
#ifndef VMM_KVMPROBE_H
#define VMM_KVMPROBE_H

#include "base/types.h"

#define KVMPROBE_ROUNDS     300000u
#define KVMPROBE_NATIVE_NS  50u /* a round may take; over it: emulated */
#define KVMPROBE_LIMIT_NS   (2 * NS_PER_SEC)
#define KVMPROBE_TEXT_BYTES 160

enum kvmprobe_verdict {
	KVMPROBE_NATIVE,    /* guest kernels run here */
	KVMPROBE_EMULATED,  /* too slow, or the guest did not end: use the lab */
	KVMPROBE_NO_DEVICE, /* there is no /dev/kvm, or nothing behind it */
	KVMPROBE_NO_ACCESS, /* we may not open it */
	KVMPROBE_BROKEN,    /* it opens and a step failed */
};

struct kvmprobe {
	enum kvmprobe_verdict verdict;
	int err;                          /* the errno behind NO_DEVICE, NO_ACCESS and BROKEN; else 0 */
	double round_ns;                  /* the best of a few runs; 0 if none ended */
	char what[KVMPROBE_TEXT_BYTES];   /* what was found, for people: "this KVM runs guest kernels natively (0.6 ns a round)" */
	char remedy[KVMPROBE_TEXT_BYTES]; /* what to do; "" for KVMPROBE_NATIVE */
};

/* 0 when the verdict is KVMPROBE_NATIVE, otherwise -EOPNOTSUPP (emulated) or -err. *out is always written: it is
 * the result, whichever it is. */
CHECKED int kvmprobe(struct kvmprobe *out);

#endif
