#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash source=tests/guests/suite-lib.sh
# Three nodes, local ones: requests that take three hops, invalidations to two readers.
. "${SUITE_LIB:-./suite-lib.sh}"

case_boot() {
	linux 420 'pangea.run=topology,expect-cpus=3,expect-nodes=3 pangea.arg=expect-mem=256M,128M,128M pangea.arg=node-cpus=1,1,1
		pangea.run=lockcount,rounds=60,seconds=20 pangea.run=ipiall,rounds=10,seconds=15 pangea.run=litmus,rounds=500,seconds=3' \
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
run_cases "$0"
