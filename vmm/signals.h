/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SIGINT, SIGTERM and SIGHUP as one thread's business. signals_block first of all in main, so that every thread has them
 * blocked; then one thread waits for them. Before a machine is attached they end the process; afterwards they stop the machine.
 */
#ifndef VMM_SIGNALS_H
#define VMM_SIGNALS_H

#include <pthread.h>

struct vm;

struct signals {
	pthread_mutex_t lock;
	struct vm *vm;
	pthread_t thread;
};

void signals_block(void);
/* -errno, logged. */
int signals_start(struct signals *signals);
void signals_attach(struct signals *signals, struct vm *vm); /* NULL: detach, before the machine is freed */

#endif
