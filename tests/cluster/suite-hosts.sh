#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash source=tests/guests/suite-lib.sh
# Two hosts, with kernels and clocks of their own, joined by Ethernet: host 2 runs the agent, host 1 the cases. The last case asks the
# caller, by the line `POWER-CUT host2`, to cut that host's power.
. "${SUITE_LIB:-./suite-lib.sh}"

two_hosts

case_hello() {
	run 30 --key "$key" --node local,cpus=1,mem=64M --node "$far,cpus=1,mem=64M" --kernel "$GUESTS/hello"
	expect_code 0
	expect_err 'with 2 vCPUs on 2 nodes'
}
case_linux() {
	linux 360 'pangea.run=topology,expect-cpus=2,expect-nodes=2 pangea.arg=expect-mem=256M,192M pangea.arg=node-cpus=1,1
		pangea.run=lockcount,rounds=50,seconds=15 pangea.run=clockmono,rounds=200,seconds=8 pangea.run=litmus,rounds=300,pages=4,min=257,seconds=2' \
		--key "$key" --node local,cpus=1,mem=256M --node "$far,cpus=1,mem=192M"
	expect_out INIT-REACHED
}
case_topology() {
	result topology
}
case_lockcount() {
	result lockcount
}
case_clockmono() {
	result clockmono
}
case_litmus() {
	result litmus
}
case_power_off() {
	expect_code 0
}
running() {
	start --key "$key" --node local,cpus=1,mem=64M --node "$far,cpus=1,mem=64M" --kernel "$GUESTS/hang"
	await "$out" hanging 30
}
# The connection does not end, it falls silent.
case_link_cut() {
	running || return
	mark
	ip link set eth0 down
	finish 15
	within 6 'the end after the link was cut'
	ip link set eth0 up
	sleep 1
	expect_code 4
	expect_err "node 1 ($far) was lost: "
}
case_after_link_cut() { # the agent has given up the machine, and takes the next
	run 30 --key "$key" --node local,cpus=1,mem=64M --node "$far,cpus=1,mem=64M" --kernel "$GUESTS/hello"
	expect_code 0
}
case_power_cut() {
	running || return
	echo 'POWER-CUT host2'
	mark
	finish 15
	within 7 'the end after the power cut' # of which the caller took some
	expect_code 4
	expect_err "node 1 ($far) was lost: "
}
case_host_is_down() { # a host that is off does not answer at all
	mark
	run 30 --key "$key" --node local,cpus=1,mem=64M --node "$far,cpus=1,mem=64M" --kernel "$GUESTS/hello"
	within 15 'the refusal'
	expect_code 3
	expect_err "node 1 ($far) did not join: 10.77.0.2, port 7700"
}
run_cases "$0"
