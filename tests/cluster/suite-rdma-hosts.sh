#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash source=tests/guests/suite-lib.sh
# RDMA between two lab hosts, with soft-RoCE over the Ethernet between them: host 2 runs the agent, host 1 the cases.
. "${SUITE_LIB:-./suite-lib.sh}"

two_hosts
two() { # SEC ARG...
	local limit=$1
	shift
	run "$limit" "$@" --key "$key" --node local,cpus=1,mem=64M --node "$far,cpus=1,mem=64M" --kernel "$GUESTS/hello"
}

case_auto_picks_rdma() {
	two 40
	expect_code 0
	expect_out '^hello'
	expect_err 'joined by RDMA (rxe0, 10.77.0.1)'
}
case_linux() {
	linux 420 'pangea.run=topology,expect-cpus=2,expect-nodes=2 pangea.arg=expect-mem=256M,192M pangea.arg=node-cpus=1,1
		pangea.run=lockcount,rounds=20,seconds=15 pangea.run=litmus,rounds=80,pages=1,min=65,seconds=1' \
		--transport rdma --key "$key" --node local,cpus=1,mem=256M --node "$far,cpus=1,mem=192M"
	expect_out INIT-REACHED
	expect_err 'joined by RDMA'
}
case_topology() {
	result topology
}
case_lockcount() {
	result lockcount
}
case_litmus() {
	result litmus
}
case_power_off() {
	expect_code 0
}
case_link_cut() {
	start --transport rdma --key "$key" --node local,cpus=1,mem=64M --node "$far,cpus=1,mem=64M" --kernel "$GUESTS/hang"
	await "$out" hanging 30 || return
	mark
	ip link set eth0 down
	await "$err" 'was lost: ' 15
	within 8 'the news after the link was cut'
	finish 5 # before the link is back: net/rdma_hold.c
	within 12 'the end after the link was cut'
	ip link set eth0 up
	sleep 2
	expect_code 4
	expect_err "node 1 ($far) was lost: "
}
# Ours is on a network of its own from now on.
case_devices_that_do_not_reach_each_other() {
	rdma link delete rxe0
	ip link add dummy0 type dummy 2>/dev/null # the module may have made one
	ip link set dummy0 mtu 4200 up
	ip address add 10.78.0.1/24 dev dummy0
	rdma link add rxe1 type rxe netdev dummy0 || fail 'no soft-RoCE device'
	two 60
	expect_code 0
	expect_out '^hello'
	expect_err 'joined by TCP, not RDMA: node 1: '
}
case_devices_that_do_not_reach_each_other_rdma() {
	two 60 --transport rdma
	expect_code 3
	expect_err 'no RDMA between node 0 and node 1: .*transport auto falls back on TCP'
}
case_only_the_other_has_a_device() {
	rdma link delete rxe1
	two 60
	expect_code 0
	expect_err 'joined by TCP, not RDMA: .*this host has no RDMA device'
}
run_cases "$0"
