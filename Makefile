# SPDX-License-Identifier: Apache-2.0
# One Makefile. `make help` lists what a person calls; `make demo` and `make test` install what they need first.
SHELL := /bin/bash
CC ?= gcc
SANITIZER ?= none
B := build$(if $(filter-out none,$(SANITIZER)),/$(SANITIZER))

WARN := -Wall -Wextra -Werror -Wshadow -Wvla -Wformat=2 -Wmissing-prototypes -Wstrict-prototypes -Wwrite-strings -Wimplicit-fallthrough
SAN_none :=
SAN_address := -fsanitize=address -fno-omit-frame-pointer
SAN_undefined := -fsanitize=undefined -fno-sanitize-recover=all
SAN_thread := -fsanitize=thread
CFLAGS ?= -O2 -g
VERSION := $(shell cat VERSION 2>/dev/null || echo 0.1.0)
ALL_CFLAGS := -std=c17 -D_GNU_SOURCE -DPANGEA_VERSION='"$(VERSION)"' -iquote . -iquote vmm -iquote $(B)/gen $(WARN) $(CFLAGS) $(SAN_$(SANITIZER)) -pthread
LDLIBS := -pthread -ljansson -lgnutls -lm
# RDMA where librdmacm can be built with; net/rdma_none.c says so otherwise. `make RDMA=` leaves it out.
ifeq ($(origin RDMA),undefined)
RDMA := $(shell pkg-config --exists librdmacm libibverbs 2>/dev/null && echo yes)
endif
RDMA_SRC := net/rdma.c net/rdma_hold.c net/rdma_send.c net/rdma_conn.c net/rdma_cm.c net/rdma_probe.c
LDLIBS += $(if $(RDMA),-lrdmacm -libverbs)
# The same of io_uring: `make URING=` leaves it out.
ifeq ($(origin URING),undefined)
URING := $(shell pkg-config --exists 'liburing >= 2.3' 2>/dev/null && echo yes)
endif
LDLIBS += $(if $(URING),-luring)

# A line a file; `make V=1` prints the commands.
SAY = $(if $(V),,@$(if $(findstring s,$(firstword -$(MAKEFLAGS))),,echo '  CC    $@';))

# Pure files: no I/O, no clock; implicit conversions are errors too.
PURE := dsm/proto.c dsm/proto_dir.c dsm/proto_cache.c dsm/delta.c dsm/history.c dsm/readers.c dsm/stream.c dsm/polling.c dsm/tables.c net/wire.c net/rdma_frame.c vcpu/lapic.c vcpu/lapic_regs.c vcpu/lapic_timer.c devices/ioapic.c vcpu/oneclock.c \
	vmm/symbols.c vmm/kallsyms.c
SRC := $(filter-out vmm/main.c $(if $(RDMA),net/rdma_none.c,$(RDMA_SRC)) $(if $(URING),net/tcp_uring_none.c,net/tcp_uring.c),$(wildcard vmm/*.c vmm/base/*.c vcpu/*.c dsm/*.c devices/*.c net/*.c))
OBJ := $(SRC:%.c=$(B)/%.o)
UNIT := $(patsubst tests/unit/%.c,$(B)/tests/unit/%,$(wildcard tests/unit/test_*.c))
MODEL := $(patsubst tests/model/%.c,$(B)/tests/model/%,$(wildcard tests/model/*.c))
SIM := $(wildcard tests/sim/*.c)
FUZZ := $(patsubst tests/fuzz/%.c,$(B)/tests/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
GUEST := $(patsubst guest-tools/%.c,$(B)/guest-tools/%,$(wildcard guest-tools/*.c))

.PHONY: all help demo test test-cluster unit model sim fuzz guests bench lint format install-deps guest-tools clean
all: $(B)/pangea guest-tools

help:
	@echo 'make demo [NODES=3]   set up, build, boot one Linux over two nodes, show it'
	@echo 'make test             set up, build, run all tests'
	@echo 'make test-cluster     only those with machines of several nodes'
	@echo 'make bench [ROWS=..]  print the table of figures, write build/bench.json'
	@echo 'make lint | unit | model | sim | fuzz | guests | clean        SANITIZER=address|undefined|thread'
	@echo 'make format | install-deps    RDMA= or URING= builds without; V=1 prints the commands'

$(B)/pangea: $(B)/vmm/main.o $(B)/libpangea.a
	$(SAY)$(CC) $(ALL_CFLAGS) -o $@ $^ $(LDLIBS)

$(B)/libpangea.a: $(OBJ)
	@rm -f $@
	@ar rcs $@ $^

$(PURE:%.c=$(B)/%.o): ALL_CFLAGS += -Wconversion

$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(SAY)$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# The DSDT is compiled by iasl; dsdt.hex declares dsdt_aml_code[].
$(B)/gen/dsdt.hex: vmm/dsdt.asl
	@mkdir -p $(@D)
	iasl -p $(B)/gen/dsdt -tc $< >$(B)/gen/dsdt.log || { cat $(B)/gen/dsdt.log; exit 1; }
$(B)/vmm/acpi.o: $(B)/gen/dsdt.hex

$(B)/tests/unit/%: tests/unit/%.c $(B)/libpangea.a
	@mkdir -p $(@D)
	$(SAY)$(CC) $(ALL_CFLAGS) -MMD -MP -o $@ $< $(B)/libpangea.a $(LDLIBS) $$(pkg-config --libs check)

$(B)/tests/model/model_replica: tests/model/model_replica.c tests/sim/view.c $(wildcard tests/model/*.h tests/sim/*.h) $(B)/libpangea.a
	@mkdir -p $(@D)
	$(SAY)$(CC) $(ALL_CFLAGS) -Wl,--wrap=clock_gettime -o $@ $(filter %.c %.a,$^) $(LDLIBS)

$(B)/tests/model/%: tests/model/%.c $(B)/libpangea.a
	@mkdir -p $(@D)
	$(SAY)$(CC) $(ALL_CFLAGS) -MMD -MP -o $@ $< $(B)/libpangea.a $(LDLIBS)

# Its own view.c is linked in place of dsm's, its clock in place of the C library's.
$(B)/tests/sim/sim: $(SIM) $(wildcard tests/sim/*.h dsm/*.h net/*.h) $(B)/libpangea.a
	@mkdir -p $(@D)
	$(SAY)$(CC) $(ALL_CFLAGS) -Wl,--wrap=clock_gettime -o $@ $(SIM) $(B)/libpangea.a $(LDLIBS)

# Programs that the cluster's suites run in a lab host.
$(B)/tests/cluster/%: tests/cluster/%.c $(B)/libpangea.a
	@mkdir -p $(@D)
	$(SAY)$(CC) $(ALL_CFLAGS) -MMD -MP -o $@ $< $(B)/libpangea.a $(LDLIBS)

# Fuzz targets have objects of their own, with libFuzzer's coverage.
FUZZ_CFLAGS = $(filter-out -fsanitize=%,$(ALL_CFLAGS)) -fno-sanitize-recover=all
$(B)/fuzz/%.o: %.c $(B)/gen/dsdt.hex
	@mkdir -p $(@D)
	$(SAY)clang $(FUZZ_CFLAGS) -fsanitize=fuzzer-no-link,address,undefined -MMD -MP -c -o $@ $<
$(B)/libpangea-fuzz.a: $(SRC:%.c=$(B)/fuzz/%.o)
	@rm -f $@
	@ar rcs $@ $^
$(B)/tests/fuzz/%: tests/fuzz/%.c $(B)/libpangea-fuzz.a
	@mkdir -p $(@D)
	$(SAY)clang $(FUZZ_CFLAGS) -fsanitize=fuzzer,address,undefined -MMD -MP -o $@ $< $(B)/libpangea-fuzz.a $(LDLIBS)

# Programs for the guest's initramfs: static, so that they need nothing there.
guest-tools: $(GUEST)
$(B)/guest-tools/%: guest-tools/%.c $(wildcard guest-tools/*.h)
	@mkdir -p $(@D)
	$(SAY)$(CC) -std=c17 -D_GNU_SOURCE $(WARN) -O2 -static -pthread -o $@ $<

guests:
	BUILD=$(abspath $(B)) tests/guests/build

unit: $(UNIT)
	tests/run-unit $(UNIT)
model: $(MODEL)
	tests/run-unit $(MODEL)
sim: $(B)/tests/sim/sim
	$(B)/tests/sim/sim $(SIM_ARGS)
	tests/sim/run $(B)/tests/sim/sim
fuzz: $(FUZZ)
	tests/fuzz/run $(FUZZ)
install-deps:
	tests/lab/install
demo: install-deps
	$(MAKE) all
	tests/lab/demo --nodes $(or $(NODES),2)
test: install-deps
	tests/run-all
# A part of `make test`: machines of several nodes in the lab.
test-cluster: install-deps
	tests/run-all build two three running hosts clocks rdma rdma-hosts
bench: install-deps
	$(MAKE) all
	tests/bench/run $(ROWS)
lint:
	tests/lint
format:
	clang-format -i $$(git ls-files '*.c' '*.h')
clean:
	rm -rf build

-include $(shell find $(B) -name '*.d' 2>/dev/null)
