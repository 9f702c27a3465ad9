#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash source=tests/guests/suite-lib.sh
# Two nodes, local ones: what the guest sees, that its memory and interrupts hold together over them, reboots, unequal nodes.
# Rounds are small, because a remote fault takes about 1 ms in the lab, and guests' seconds are 64 of the lab's.
. "${SUITE_LIB:-./suite-lib.sh}"

case_multiboot() {
	run 30 --node local,cpus=1,mem=64M --node local,cpus=1,mem=64M --kernel "$GUESTS/hello"
	expect_out '^hello'
	expect_err 'with 2 vCPUs on 2 nodes'
	expect_code 0
}
case_triple_fault() {
	run 30 --node local,cpus=1,mem=64M --node local,cpus=1,mem=64M --kernel "$GUESTS/triple"
	expect_code 5
	expect_err 'the guest crashed on node 0'
}
case_unmapped_addresses() {
	run 30 --node local,cpus=1,mem=64M --node local,cpus=1,mem=64M --kernel "$GUESTS/unmapped"
	expect_out 'memory ok'
	expect_code 0
}

# A unit test of this machine's kernel, and of the lab's, which may split huge pages otherwise.
case_blocks_split() {
	[ "$in_lab" = 1 ] || { skip 'make unit runs it on this machine'; return; }
	begin env LD_LIBRARY_PATH=/job /job/test_view
	finish 60
	expect_code 0
}

# One boot, many jobs; the cases after it read its console.
case_boot() {
	linux 540 'pangea.run=topology,expect-cpus=2,expect-nodes=2 pangea.arg=expect-mem=256M,256M pangea.arg=node-cpus=1,1
		pangea.run=lockcount,rounds=200,seconds=15 pangea.run=ipiall,rounds=30,seconds=15 pangea.run=clockmono,rounds=500,seconds=8
		pangea.run=unmapped pangea.run=remap,rounds=20 pangea.run=litmus,rounds=3000,min=513,seconds=1 pangea.run=memfill,max=6M,limit=120
		pangea.run=stream,bytes=128K,rounds=2 pangea.run=primes,steps=2 pangea.run=seqread,bytes=2M,parts=1 pangea.run=cpuhotplug' \
		--stats --node local,cpus=1,mem=256M --node local,cpus=1,mem=256M
	expect_out INIT-REACHED
}
case_topology() {
	result topology
}
case_lockcount() {
	result lockcount
}
case_ipiall() {
	result ipiall
}
case_clockmono() {
	result clockmono
}
case_unmapped() {
	result unmapped
}
case_litmus() {
	result litmus
}
case_remap() { # page tables changed on one node, used on the other
	result remap
}
case_memfill() {
	result memfill
}
case_stream() {
	result stream
}
case_primes() {
	result primes
}
case_seqread() { # pages come ahead, and are the right ones
	result seqread
	expect_out '^seqread home=0 from=1 '
}
case_cpuhotplug() {
	result cpuhotplug
}
case_power_off() {
	expect_code 0
}
case_stats() {
	expect_err 'read faults'
	expect_err 'the guest ran .* on 2 nodes'
}

case_hottest_pages() { # named from the guest's own symbol tables
	expect_err 'hottest pages: .*Linux version [0-9]'
	expect_err 'home node [01]: .*\(jiffies=jiffies_64\|tk_core\|runqueues.* (CPU [01])\)'
}

# `pangea stats`, while it boots and when it has, as the guest then stays: each node for itself, the far one's pages with names that node 0
# knows; and its end with theirs.
case_stats_of_running_nodes() {
	local n=0
	start --node local,cpus=1,mem=256M --node local,cpus=1,mem=256M --kernel "$KERNEL" --initrd "$INITRD" \
		--append "quiet panic=-1 pangea.run=true pangea.end=halt $(slow_clock)"
	until "$PANGEA" stats --node 1 >"$tmp/stats" 2>&1 && grep -q 'home node 1: .*runqueues.* (CPU 1)' "$tmp/stats"; do
		if [ -s "$tmp/code" ] || [ $n -ge 240 ]; then
			fail "node 1 never named its run queue: $(tail -n 3 "$tmp/stats")"
			return
		fi
		sleep 0.5
		n=$((n + 1))
	done
	grep -q '^machine [0-9a-f]\{8\}, node 1 of 2' "$tmp/stats" || fail 'node 1 does not say who it is'
	grep -q '^read fault, p999 .* us' "$tmp/stats" || fail 'no p999'
	"$PANGEA" stats >"$tmp/stats" 2>&1 || fail 'pangea stats failed'
	[ "$(grep -c '^machine ' "$tmp/stats")" = 2 ] || fail 'not both nodes answered'
	timeout 120 "$PANGEA" stats --watch >"$tmp/watch" 2>&1 &
	watch=$!
	await "$tmp/watch" 'a second' 60
	kill -TERM "$pid"
	finish 15
	expect_code 6
	wait $watch || fail "pangea stats --watch ended with $? when the machine had"
	"$PANGEA" stats --node 1 >"$tmp/stats" 2>&1 && fail 'a node answers that is gone'
	[ -z "$(ls "${PANGEA_RUNTIME_DIR:-/run/pangea}")" ] || [ "$in_lab" = 0 ] || fail 'a socket is left behind'
}

# The kernel's own interface to probes, which perf uses too: one is made an event, and messages make it fire.
case_tracepoints() {
	[ "$in_lab" = 1 ] || { skip 'the trace buffer of this machine is not ours'; return; }
	local t=/sys/kernel/tracing at offset
	[ -e $t/uprobe_events ] || mount -t tracefs none $t 2>/dev/null
	[ -e $t/uprobe_events ] || { skip 'this kernel has no uprobes'; return; }
	at=$(readelf -n "$PANGEA" | awk '/Name: message_sent$/ { n = 1 } n && /Location:/ { sub(",", "", $2); print $2; exit }')
	[ -n "$at" ] || { fail 'the program has no probe message_sent'; return; }
	offset=$(readelf -lW "$PANGEA" | awk '$1 == "LOAD" && / R E / { print $2, $3 }')
	offset=$((at - ${offset#* } + ${offset% *}))
	printf 'p:pangea/message_sent %s:0x%x\n' "$self_exe" "$offset" >$t/uprobe_events || { fail 'the kernel takes no probe there'; return; }
	echo 1 >$t/events/pangea/message_sent/enable
	run 30 --node local,cpus=1,mem=64M --node local,cpus=1,mem=64M --kernel "$GUESTS/hello"
	echo 0 >$t/events/pangea/message_sent/enable
	expect_code 0
	[ "$(grep -c ' message_sent: ' $t/trace)" -ge 40 ] || fail "$(grep -c ' message_sent: ' $t/trace) messages were seen, and 40 go out to compare the clocks"
	: >$t/trace
	: >$t/uprobe_events
}

case_reboot() {
	linux 240 'pangea.run=rebootonce' --node local,cpus=1,mem=256M --node local,cpus=1,mem=256M
	expect_out '^REBOOT 1'
	result rebootonce
	expect_code 0
}
# All free RAM, and half of the guest's is the far node's, which has no CPU.
case_memory_only_node() {
	linux 300 'pangea.run=topology,expect-cpus=2,expect-nodes=2 pangea.arg=expect-mem=160M,64M pangea.arg=node-cpus=2,0
		pangea.run=memfill,margin=32M,passes=1,limit=200' --node local,cpus=2,mem=160M --node local,cpus=0,mem=64M
	expect_code 0
	result topology
}
case_memory_only_node_all_ram() {
	result memfill
}
# vCPU 0 is then another node's: it has to learn how it begins, at each boot.
case_node_0_without_cpus() {
	run 30 --node local,cpus=0,mem=64M --node local,cpus=1,mem=64M --kernel "$GUESTS/hello"
	expect_out '^hello'
	expect_err 'with 1 vCPUs on 2 nodes'
	expect_code 0
}
case_node_0_without_cpus_pvh() {
	run 30 --node local,cpus=0,mem=64M --node local,cpus=1,mem=64M --kernel "$GUESTS/hello-pvh"
	expect_out '^hello'
	expect_code 0
}
case_node_0_without_cpus_linux() {
	linux 300 'pangea.run=topology,expect-cpus=2,expect-nodes=2 pangea.arg=expect-mem=256M,128M pangea.arg=node-cpus=0,2' \
		--node local,cpus=0,mem=256M --node local,cpus=2,mem=128M
	result topology
	expect_code 0
}
case_node_0_without_cpus_reboot() {
	reboots_on_triple_fault --node local,cpus=0,mem=64M --node local,cpus=1,mem=64M
}
case_unequal_nodes() {
	linux 240 'pangea.run=topology,expect-cpus=3,expect-nodes=2 pangea.arg=expect-mem=384M,128M pangea.arg=node-cpus=2,1' \
		--node local,cpus=2,mem=384M --node local,cpus=1,mem=128M
	result topology
	expect_code 0
}
case_less_ram_than_asked() { # two nodes of one host share its memory
	run 20 --node local,cpus=1,mem=2G --node local,cpus=1,mem=2G --node local,cpus=1,mem=2G --kernel "$GUESTS/hello"
	if [ "$in_lab" = 0 ]; then
		skip 'this machine may have 6 GiB'
		return
	fi
	expect_code 2
	expect_err 'of memory available, and 6 GiB of guest RAM is asked of it'
}
case_host_kernel_log() {
	host_log_is_clean
}
run_cases "$0"
