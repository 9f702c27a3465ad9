/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/signals.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "vmm/exitcode.h"
#include "vmm/vm.h"

static void the_set(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGHUP);
	sigaddset(set, SIGUSR2);
}

void signals_block(void)
{
	sigset_t set;

	the_set(&set);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN); /* a closed console or connection is an error code */
}

static void *signals_main(void *arg)
{
	struct signals *signals = arg;
	sigset_t set;
	int sig;

	the_set(&set);
	pthread_setname_np(pthread_self(), "signals");
	for (;;) {
		if (sigwait(&set, &sig))
			continue;
		pthread_mutex_lock(&signals->lock);
		if (sig == SIGUSR2) { /* for whoever wants to know what a guest that hangs is doing */
			if (signals->vm && signals->vm->vcpus)
				vcpus_dump(signals->vm->vcpus);
			pthread_mutex_unlock(&signals->lock);
			continue;
		}
		if (!signals->vm) {
			log_info("ended by %s before the machine ran", strsignal(sig));
			_exit(EXIT_INTERRUPTED);
		}
		node_t self = signals->vm->config.self;
		vm_stop(signals->vm, self ? WIRE_STOP_LOST : WIRE_STOP_QUIT, self, 0, "it was ended by a signal: %s",
			strsignal(sig));
		pthread_mutex_unlock(&signals->lock);
	}
	return NULL;
}

int signals_start(struct signals *signals)
{
	pthread_mutex_init(&signals->lock, NULL);
	signals->vm = NULL;
	int rc = -pthread_create(&signals->thread, NULL, signals_main, signals);
	if (rc)
		log_error("cannot start the signal thread: %s", strerror(-rc));
	return rc;
}

void signals_attach(struct signals *signals, struct vm *vm)
{
	pthread_mutex_lock(&signals->lock);
	signals->vm = vm;
	pthread_mutex_unlock(&signals->lock);
}
