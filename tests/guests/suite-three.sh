#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash source=tests/guests/suite-lib.sh
# Three nodes, local ones: requests that take three hops, invalidations to two readers.
. "${SUITE_LIB:-./suite-lib.sh}"

case_boot() {
	linux 420 'pangea.run=topology,expect-cpus=3,expect-nodes=3 pangea.arg=expect-mem=256M,128M,128M pangea.arg=node-cpus=1,1,1
		pangea.run=lockcount,rounds=60,seconds=20 pangea.run=ipiall,rounds=10,seconds=15 pangea.run=litmus,rounds=600,pages=4,min=257,seconds=3' \
		--node local,cpus=1,mem=256M --node local,cpus=1,mem=128M --node local,cpus=1,mem=128M
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
case_litmus() {
	result litmus
}
case_power_off() {
	expect_code 0
}
# The leader hears of it from both others; the two that remain end as well.
case_node_killed() {
	start --node local,cpus=1,mem=64M --node local,cpus=1,mem=64M --node local,cpus=1,mem=64M --kernel "$GUESTS/hang"
	await "$out" hanging 30 || return
	mark
	kill -KILL "$(node_pid 2)"
	finish 10
	within 5 'the end after a node was killed'
	expect_code 4
	expect_err 'node 2 (local) was lost'
}
# sample: $tmp/peaks has a line `peak NODE KIB HWM` a node: the most that was resident, what is not guest RAM and all of the file that is,
# mapped or not; and the kernel's own word, VmHWM.
sample() {
	# shellcheck disable=SC2086 # lists
	{
		cat "$tmp/peaks"
		stat -L -c 'blocks %b' $files
		cat $statuses
	} 2>/dev/null | awk -v nodes="$nodes" '
		function max(a, b) { return a > b ? a : b }
		$1 == "peak" { peak[$2] = $3; hwm[$2] = $4 }
		$1 == "blocks" { ram[++files] = $2 / 2 }
		$1 == "Name:" { n++ }
		$1 == "VmHWM:" { top[n] = $2 }
		$1 == "RssAnon:" || $1 == "RssFile:" { other[n] += $2 }
		END {
			for (i = 1; i <= nodes; i++)
				if (files == nodes && n == nodes)
					print "peak", i, max(peak[i], ram[i] + other[i]), max(hwm[i], top[i])
				else
					print "peak", i, peak[i], hwm[i]
		}' >"$tmp/peaks.new"
	mv "$tmp/peaks.new" "$tmp/peaks"
}
# watch BYTES NODES: samples the processes of the nodes until the machine ends, whose RAM is so large. Seldom: it takes the one emulated CPU from them.
watch() {
	local p fd
	nodes=$2
	files='' statuses=''
	: >"$tmp/peaks"
	while [ ! -s "$tmp/code" ] && [ "$(children "$pid" | wc -l)" -lt $((nodes - 1)) ]; do sleep 0.5; done
	sleep 3
	for p in $pid $(children "$pid"); do
		statuses="$statuses /proc/$p/status"
		for fd in /proc/"$p"/fd/*; do
			[ "$(stat -L -c '%F %s' "$fd" 2>/dev/null)" != "regular file $1" ] || files="$files $fd"
		done
	done
	while [ ! -s "$tmp/code" ]; do
		sample
		sleep 2
	done
}
# kept NODE KIB: what it had resident is no more than that.
kept() {
	local peak hwm
	peak=$(awk -v n="$1" '$2 == n + 1 { print int($3) }' "$tmp/peaks")
	hwm=$(awk -v n="$1" '$2 == n + 1 { print int($4) }' "$tmp/peaks")
	[ "${peak:-0}" -gt "$3" ] || fail "node $1 was not measured: ${peak:-0} KiB"
	[ "${peak:-0}" -le "$2" ] || fail "node $1 had $peak KiB resident, its budget is $2"
	[ "${hwm:-0}" -le "$2" ] || fail "node $1 had $hwm KiB resident (VmHWM), its budget is $2"
}
# More RAM than the node whose CPU fills and checks all of it may have resident.
case_budget_boot() {
	start --node local,cpus=1,mem=128M,mem-budget=192M --node local,cpus=0,mem=64M,mem-budget=112M --node local,cpus=0,mem=64M,mem-budget=112M \
		--stats --kernel "$KERNEL" --initrd "$INITRD" --append "quiet panic=-1 $(slow_clock) pangea.run=topology,expect-cpus=1,expect-nodes=3 \
pangea.arg=expect-mem=128M,64M,64M pangea.arg=node-cpus=1,0,0 pangea.run=memfill,margin=24M,passes=1,limit=600"
	watch $((256 * 1024 * 1024)) 3
	finish 5
	expect_code 0
	result topology
}
case_budget_all_ram_is_filled_and_checked() {
	result memfill
}
case_budget_is_kept() {
	kept 0 $((192 * 1024)) 100000
	kept 1 $((112 * 1024)) 20000
	kept 2 $((112 * 1024)) 20000
}
case_budget_was_needed() {
	expect_err '^pages sent home for the budget  *[1-9]'
	expect_err '^copies given up for the budget  *[1-9]'
}
# A CPU on each node: what the one has filled the other checks, and fills for the first. Neither may keep what it sees.
case_budget_two_cpus() {
	start --node local,cpus=1,mem=128M,mem-budget=192M --node local,cpus=1,mem=64M,mem-budget=112M --stats --kernel "$KERNEL" \
		--initrd "$INITRD" --append "quiet panic=-1 $(slow_clock) pangea.run=memfill,margin=16M,max=56M,passes=2,limit=600"
	watch $((192 * 1024 * 1024)) 2
	finish 5
	expect_code 0
	result memfill
	expect_out 'memfill pass=0 .* written by CPU 0 of node 0, checked by CPU 1 of node 1, errors=0'
	expect_out 'memfill pass=1 .* written by CPU 1 of node 1, checked by CPU 0 of node 0, errors=0'
}
case_budget_two_cpus_is_kept() {
	kept 0 $((192 * 1024)) 80000
	kept 1 $((112 * 1024)) 20000
}
case_budget_two_cpus_was_needed() {
	# The columns are node 0, node 1, both.
	expect_err '^pages sent home for the budget  *[0-9][0-9]*  *[1-9]'
	expect_err '^copies given up for the budget  *[0-9][0-9]*  *[1-9]'
}
case_budget_too_small() {
	run 5 --node local,cpus=1,mem=128M,mem-budget=128M --node local,cpus=1,mem=64M --kernel "$GUESTS/hello"
	expect_code 1
	expect_err 'node 0: mem-budget=128M is too little: a node with mem=128M in this machine needs 1[0-9][0-9]M'
}
run_cases "$0"
