#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash source=tests/guests/suite-lib.sh
# RDMA within one lab host: soft-RoCE over dummy0, which the cases bring to each state that a device can be in. Nodes are processes of this
# host. Always in the lab: it is the host's network that is changed.
. "${SUITE_LIB:-./suite-lib.sh}"

lane() { # one test of rdmalane, under its name
	if timeout 120 /job/rdmalane "$1" >"$out" 2>"$err"; then return 0; fi
	fail "$(tail -n 1 "$err")"
}
two() { # SEC ARG...: two small nodes and the smallest guest
	local limit=$1
	shift
	run "$limit" "$@" --node local,cpus=1,mem=64M --node local,cpus=1,mem=64M --kernel "$GUESTS/hello"
}
falls_back() { # WHY: --transport auto uses TCP and says why
	two 30
	expect_code 0
	expect_out '^hello'
	expect_err "joined by TCP, not RDMA: .*$1"
}
refused() { # WHY: --transport rdma ends, before anything is started
	two 30 --transport rdma
	expect_code 2
	expect_err "transport rdma: .*$1"
	[ ! -s "$out" ] || fail 'a guest ran'
}

# ---- no device, and devices that are of no use ----

case_no_device_auto() {
	falls_back 'this host has no RDMA device'
}
case_no_device_rdma() {
	refused 'this host has no RDMA device'
}
case_no_device_check() {
	begin "$PANGEA" check
	finish 20
	expect_out 'ok *rdma .*no device: nodes are joined by TCP'
}
case_no_address() {
	lab-load rdma 2>/dev/null
	ip link add dummy0 type dummy 2>/dev/null # the module may have made one
	ip link set dummy0 mtu 4200 up
	rdma link add rxe0 type rxe netdev dummy0 || fail 'no soft-RoCE device'
	falls_back 'the RDMA device rxe0 of this host has no IP address'
}
case_no_address_rdma() {
	refused 'the RDMA device rxe0 of this host has no IP address'
}
case_no_address_check() {
	begin "$PANGEA" check
	finish 20
	expect_out 'warn *rdma rxe0 .*no IP address'
}
case_inactive_port() {
	ip address add 10.78.0.1/24 dev dummy0
	ip link set dummy0 down
	sleep 1
	falls_back 'no port of the RDMA device rxe0 of this host is active'
}
case_inactive_port_rdma() {
	refused 'no port of the RDMA device rxe0 of this host is active'
}
case_inactive_port_check() {
	begin "$PANGEA" check
	finish 20
	expect_out 'warn *rdma rxe0 .*port 1 DOWN'
	ip link set dummy0 up
	sleep 1
}

# ---- a device ----

case_check() {
	begin "$PANGEA" check
	finish 20
	expect_out 'ok *rdma rxe0 .*ACTIVE.*10.78.0.1'
}
case_auto_picks_rdma() {
	two 30
	expect_code 0
	expect_err 'joined by RDMA (rxe0, 10.78.0.1)'
}
case_tcp_if_told() {
	two 30 --transport tcp
	expect_code 0
	expect_err 'joined by TCP, not RDMA: --transport tcp'
}
case_three_nodes_two_shards() {
	run 40 --transport rdma --shards 2 --node local,cpus=1,mem=64M --node local,cpus=1,mem=64M --node local,cpus=1,mem=64M \
		--kernel "$GUESTS/hello"
	expect_code 0
	expect_err 'joined by RDMA'
}

# ---- lanes, without a guest ----

case_messages_of_the_dsm_lane() {
	lane messages_of_the_dsm_lane
}
case_messages_of_the_control_lane() {
	lane messages_of_the_control_lane
}
case_descriptors_wake_their_owners() {
	lane descriptors_wake_their_owners
}
case_who_looks_is_woken_all_the_same() {
	lane who_looks_is_woken_all_the_same
}
case_pages_that_answer_requests() {
	lane pages_that_answer_requests
}
case_any_thread_may_send_on_the_control_lane() {
	lane any_thread_may_send_on_the_control_lane
}
case_a_peer_that_does_not_read_is_lost() {
	lane a_peer_that_does_not_read_is_lost
}
case_what_was_sent_before_the_end_is_delivered() {
	lane what_was_sent_before_the_end_is_delivered
}
case_a_wrong_token_is_turned_away() {
	lane a_wrong_token_is_turned_away
	expect_err 'turned away an RDMA connection from 10.78.0.1: it does not present the token'
}
case_a_frame_of_garbage_loses_the_peer() {
	lane a_frame_of_garbage_loses_the_peer
}
case_an_empty_frame_loses_the_peer() {
	lane an_empty_frame_loses_the_peer
}
case_a_write_past_the_slots_is_refused_by_the_device() {
	lane a_write_past_the_slots_is_refused_by_the_device
}
case_a_write_with_a_wrong_key_is_refused_by_the_device() {
	lane a_write_with_a_wrong_key_is_refused_by_the_device
}
case_immediate_data_that_lie_lose_the_peer() {
	lane immediate_data_that_lie_lose_the_peer
}
case_a_written_frame_of_garbage_loses_the_peer() {
	lane a_written_frame_of_garbage_loses_the_peer
}
case_a_peer_that_sends_without_credit_is_lost() {
	lane a_peer_that_sends_without_credit_is_lost
}
case_a_full_completion_queue_loses_nothing() {
	lane a_full_completion_queue_loses_nothing
}
case_a_completion_with_an_error_loses_the_peer() {
	lane a_completion_with_an_error_loses_the_peer
}
case_a_message_over_tcp_loses_the_peer() {
	lane a_message_over_tcp_loses_the_peer
}

# ---- limits ----

# A program whose limit of locked memory is 64 KiB; as root it binds only without CAP_IPC_LOCK.
cat >"$tmp/limited" <<'END'
#!/bin/sh
ulimit -l 64 && exec setpriv --bounding-set -ipc_lock --inh-caps -ipc_lock "$@"
END
chmod 755 "$tmp/limited"
limited() { # ARG...
	begin "$tmp/limited" "$PANGEA" run "$@" \
		--node local,cpus=1,mem=64M --node local,cpus=1,mem=64M --kernel "$GUESTS/hello"
	finish 40
}
case_memlock_too_small_auto() {
	limited
	expect_code 0
	expect_out '^hello'
	expect_err 'joined by TCP, not RDMA: .*memory cannot be locked for RDMA (the limit here is 64 KiB'
}
case_memlock_too_small_rdma() {
	limited --transport rdma
	expect_code 3
	expect_err 'no RDMA between node 0 and node 1: .*memory cannot be locked'
}
# One node cannot, the others can: each pair is joined as it can be.
case_one_of_three_without_rdma() {
	"$PANGEA" keygen "$tmp/key" >/dev/null
	"$tmp/limited" "$PANGEA" node --listen 127.0.0.1:7711 --key "$tmp/key" </dev/null >"$tmp/agent" 2>&1 &
	agent=$!
	keep=$agent
	sleep 2
	run 40 --key "$tmp/key" --node local,cpus=1,mem=64M --node local,cpus=1,mem=64M --node 127.0.0.1:7711,cpus=1,mem=64M --kernel "$GUESTS/hello"
	stop_agent
	code=$(cat "$tmp/code")
	expect_code 0
	expect_out '^hello'
	expect_err '1 other nodes are joined by RDMA (rxe0, 10.78.0.1), 1 by TCP: node 2: .*memory cannot be locked'
}

# ---- in mid-run ----

hanging() {
	start --transport rdma --node local,cpus=1,mem=64M --node local,cpus=1,mem=64M --kernel "$GUESTS/hang"
	await "$out" hanging 30
}
case_a_node_is_killed() {
	hanging || return
	mark
	kill -KILL "$(node_pid 1)"
	finish 15
	within 6 'the end after a node was killed'
	expect_code 4
	expect_err 'node 1 (local) was lost: '
}
case_link_down() {
	hanging || return
	mark
	ip link set dummy0 down
	finish 25
	within 15 'the end after the link went down'
	ip link set dummy0 up
	rdma link delete rxe0 # soft-RoCE that was cut off while it sent takes no connections any more (Linux 6.1)
	rdma link add rxe0 type rxe netdev dummy0
	sleep 1
	expect_code 4
	expect_err 'was lost: '
}
case_device_removed() {
	hanging || return
	mark
	timeout 30 rdma link delete rxe0 & # returns when its users are gone
	deleting=$!
	finish 15
	within 6 'the end after the device was removed'
	wait $deleting || fail "rdma link delete ended with $?"
	expect_code 4
	expect_err 'was lost: .*RDMA'
}
case_after_the_device_was_removed() {
	falls_back 'this host has no RDMA device'
}

# ---- Linux ----

case_device_again() {
	rdma link add rxe0 type rxe netdev dummy0
	two 30
	expect_code 0
	expect_err 'joined by RDMA (rxe0, 10.78.0.1)'
}
case_linux() {
	linux 420 'pangea.run=topology,expect-cpus=2,expect-nodes=2 pangea.arg=expect-mem=256M,256M pangea.arg=node-cpus=1,1
		pangea.run=lockcount,rounds=200,seconds=15 pangea.run=ipiall,rounds=30,seconds=15 pangea.run=clockmono,rounds=500,seconds=8
		pangea.run=litmus,rounds=1000,min=513,seconds=1 pangea.run=memfill,max=6M,limit=120' \
		--transport rdma --stats --node local,cpus=1,mem=256M --node local,cpus=1,mem=256M
	expect_out INIT-REACHED
	expect_err 'joined by RDMA'
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
case_litmus() {
	result litmus
}
case_memfill() {
	result memfill
}
case_power_off() {
	expect_code 0
}
case_reboot() {
	linux 240 'pangea.run=rebootonce' --transport rdma --node local,cpus=1,mem=256M --node local,cpus=1,mem=256M
	expect_out '^REBOOT 1'
	result rebootonce
	expect_code 0
}
case_host_kernel_log() {
	host_log_is_clean
}
run_cases "$0"
