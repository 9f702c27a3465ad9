#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash source=tests/guests/suite-lib.sh
# Faults while a machine of several processes runs or joins, on one host: nodes and leaders that are killed, ended or stopped, agents and
# peers that are not what they should be. A lost node is noticed within 5 s: 4 s of silence at most, or at once when its connection ends.
. "${SUITE_LIB:-./suite-lib.sh}"

two='--node local,cpus=1,mem=64M --node local,cpus=1,mem=64M'
running() { # a machine of two local nodes, up; $node is the process of node 1
	# shellcheck disable=SC2086 # words
	start $two --kernel "$GUESTS/hang"
	await "$out" hanging 30 || return 1
	node=$(node_pid 1)
	[ -n "$node" ] || fail 'the leader has no child process'
}
gone() { # PID SEC: the process ends in time
	local n=0
	while kill -0 "$1" 2>/dev/null && [ "$(awk '$1 == "State:" { print $2 }' "/proc/$1/status" 2>/dev/null)" != Z ]; do
		[ $n -lt $(($2 * 10)) ] || { fail "process $1 is still there after $2 s"; return; }
		sleep 0.1
		n=$((n + 1))
	done
}

case_node_sigkill() {
	running || return
	mark
	kill -KILL "$node"
	finish 10
	within 5 'the end after SIGKILL to node 1'
	expect_code 4
	expect_err 'node 1 (local) was lost: '
}
case_node_sigterm() {
	running || return
	mark
	kill -TERM "$node"
	finish 10
	within 5 'the end after SIGTERM to node 1'
	expect_code 4
	expect_err 'node 1 (local) was lost: it was ended by a signal: Terminated'
}
case_node_sigint() {
	running || return
	mark
	kill -INT "$node"
	finish 10
	within 5 'the end after SIGINT to node 1'
	expect_code 4
	expect_err 'node 1 (local) was lost: it was ended by a signal: Interrupt'
}
case_node_sigstop() {
	running || return
	mark
	kill -STOP "$node"
	finish 15
	within 6 'the end after SIGSTOP to node 1'
	kill -CONT "$node" 2>/dev/null
	expect_code 4
	expect_err 'node 1 (local) was lost: nothing was heard of it'
}
case_leader_sigkill() {
	running || return
	kill -KILL "$pid"
	gone "$node" 5
	finish 5
}
case_leader_sigterm() {
	running || return
	mark
	kill -TERM "$pid"
	finish 10
	within 5 'the end after SIGTERM to the leader'
	expect_code 6
	gone "$node" 5
}
case_leader_sigstop() {
	running || return
	kill -STOP "$pid"
	gone "$node" 7
	kill -CONT "$pid"
	finish 10
	expect_code 4
}
case_node_killed_during_boot() {
	# shellcheck disable=SC2086 # words
	start --node local,cpus=1,mem=256M --node local,cpus=1,mem=256M --kernel "$KERNEL" --initrd "$INITRD" --append 'panic=-1 pangea.run=topology'
	await "$out" 'Linux version' 60 || return
	sleep 1
	mark
	kill -KILL "$(node_pid 1)"
	finish 10
	within 5 'the end after SIGKILL to node 1'
	expect_code 4
	expect_err 'node 1 (local) was lost: '
}
case_node_killed_with_linux_at_work() {
	# shellcheck disable=SC2086 # words
	start --node local,cpus=1,mem=256M --node local,cpus=1,mem=256M --kernel "$KERNEL" --initrd "$INITRD" \
		--append 'quiet panic=-1 pangea.run=lockcount,rounds=1000000,seconds=60'
	await "$out" INIT-REACHED 200 || return
	sleep 2
	mark
	kill -KILL "$(node_pid 1)"
	finish 10
	within 5 'the end after SIGKILL to node 1'
	expect_code 4
}
# Whatever the moment, SIGTERM ends all of it.
case_sigterm_while_starting() {
	for wait in 0.05 0.2 0.5; do
		# shellcheck disable=SC2086 # words
		start $two --kernel "$GUESTS/hang"
		sleep $wait
		mark
		kill -TERM "$pid"
		finish 10
		within 5 "the end after SIGTERM $wait s after the start"
		case $code in
		6 | 143) ;; # 143: before it took care of signals
		*) fail "exit code $code, expected 6, after SIGTERM $wait s after the start" ;;
		esac
		leftovers
	done
}

# ---- agents ----

"$PANGEA" keygen "$tmp/key" >/dev/null && "$PANGEA" keygen "$tmp/other" >/dev/null || echo 'keygen failed'

with_agent() { # SEC ARG...: a machine with this host's agent as node 1
	local limit=$1
	shift
	run "$limit" --key "$tmp/key" --node local,cpus=1,mem=64M --node "127.0.0.1:$port,cpus=1,mem=64M" "$@"
}
case_agent() {
	start_agent --listen 127.0.0.1:0 --key "$tmp/key" || return
	with_agent 30 --kernel "$GUESTS/hello"
	expect_code 0
	expect_out '^hello'
	expect_err 'with 2 vCPUs on 2 nodes'
}
case_agent_serves_again() {
	start_agent --listen 127.0.0.1:0 --key "$tmp/key" || return
	for round in 1 2 3; do
		with_agent 30 --kernel "$GUESTS/hello"
		[ "$code" = 0 ] || fail "machine $round: exit code $code"
	done
	stop_agent TERM
	expect_code 6
}
case_agent_once() {
	start_agent --listen 127.0.0.1:0 --key "$tmp/key" --once || return
	with_agent 30 --kernel "$GUESTS/hello"
	expect_code 0
	gone "$agent" 5
	wait "$agent"
	code=$?
	agent='' keep=''
	expect_code 0
}
case_agent_killed() {
	start_agent --listen 127.0.0.1:0 --key "$tmp/key" || return
	start --key "$tmp/key" --node local,cpus=1,mem=64M --node "127.0.0.1:$port,cpus=1,mem=64M" --kernel "$GUESTS/hang"
	await "$out" hanging 30 || return
	mark
	stop_agent KILL
	finish 10
	within 5 'the end after SIGKILL to the agent'
	expect_code 4
	expect_err "node 1 (127.0.0.1:$port) was lost"
}
case_agent_terminated() {
	start_agent --listen 127.0.0.1:0 --key "$tmp/key" || return
	start --key "$tmp/key" --node local,cpus=1,mem=64M --node "127.0.0.1:$port,cpus=1,mem=64M" --kernel "$GUESTS/hang"
	await "$out" hanging 30 || return
	mark
	stop_agent TERM
	expect_code 6
	finish 10
	within 5 'the end after SIGTERM to the agent'
	expect_code 4
	expect_err "node 1 (127.0.0.1:$port) was lost"
}
case_agent_outlives_a_killed_leader() {
	start_agent --listen 127.0.0.1:0 --key "$tmp/key" || return
	start --key "$tmp/key" --node local,cpus=1,mem=64M --node "127.0.0.1:$port,cpus=1,mem=64M" --kernel "$GUESTS/hang"
	await "$out" hanging 30 || return
	node=$(children "$agent" | head -n 1)
	kill -KILL "$pid"
	gone "$node" 5
	finish 5
	with_agent 30 --kernel "$GUESTS/hello"
	expect_code 0
}
case_agent_other_key() {
	start_agent --listen 127.0.0.1:0 --key "$tmp/other" || return
	mark
	with_agent 20 --kernel "$GUESTS/hello"
	within 10 'the refusal'
	expect_code 3
	expect_err "node 1 (127.0.0.1:$port) did not join: .*holds another cluster key than this host"
}
case_no_key() {
	HOME=$tmp PANGEA_KEY='' XDG_CONFIG_HOME='' run 10 --node local,cpus=1,mem=64M --node 127.0.0.1:7701,cpus=1,mem=64M --kernel "$GUESTS/hello"
	expect_code 1
	expect_err 'there is no cluster key at .*pangea keygen'
}
joins_not() { # SEC WHERE SENTENCE
	mark
	run $(($1 + 10)) --key "$tmp/key" --node local,cpus=1,mem=64M --node "$2,cpus=1,mem=64M" --kernel "$GUESTS/hello"
	within "$1" 'the refusal'
	expect_code 3
	expect_err "node 1 ($2) did not join: .*$3"
}
case_wrong_port() {
	joins_not 5 127.0.0.1:7799 'is up but nothing listens on its port 7799'
}
case_unreachable_host() {
	joins_not 15 10.77.0.99:7700 '10.77.0.99, port 7700'
}
case_unknown_name() {
	joins_not 15 no-such-host.invalid:7700 'the host name no-such-host.invalid cannot be looked up'
}
peer() { # COMMAND: listens on port 7710 and serves one connection
	busybox nc -l -p 7710 -e /bin/sh -c "$1" 2>/dev/null &
	peer=$!
	sleep 0.5
}
end_peer() {
	kill -KILL "$peer" 2>/dev/null
	wait "$peer" 2>/dev/null
}
case_peer_sends_garbage() {
	peer 'head -c 4096 /dev/urandom; exec sleep 5'
	joins_not 10 127.0.0.1:7710 'is not a pangea node: it answered with other bytes'
	end_peer
}
case_peer_sends_nothing() {
	peer 'exec sleep 60'
	joins_not 10 127.0.0.1:7710 'accepted the connection but sent no .* within 5 s'
	end_peer
}
case_peer_hangs_up() {
	peer 'true'
	joins_not 10 127.0.0.1:7710 'hung up before'
	end_peer
}
# A reply (auth.h) of version 9: the magic, the version, the rest zero, 80 bytes.
case_peer_of_another_version() {
	printf 'PANGEA01\377\000' >"$tmp/reply"
	head -c 70 /dev/zero >>"$tmp/reply"
	peer "cat $tmp/reply; exec sleep 5"
	joins_not 10 127.0.0.1:7710 'runs pangea protocol 255, this is [0-9]*: install the same version on both hosts'
	end_peer
}
case_agent_without_kvm() {
	[ "$in_lab" = 1 ] || { skip 'only in the lab: it takes /dev/kvm away'; return; }
	start_agent --listen 127.0.0.1:0 --key "$tmp/key" || return
	# The leader looks for /dev/kvm first, so it is taken away from the agent alone: a mount namespace of its own.
	stop_agent KILL
	cat >"$tmp/blind" <<-END
		#!/bin/sh
		mount -t tmpfs none /dev && exec "$PANGEA" node --listen 127.0.0.1:7720 --key "$tmp/key"
	END
	unshare -m sh "$tmp/blind" </dev/null >"$tmp/agent" 2>&1 &
	agent=$! keep=$!
	sleep 2
	joins_not 10 127.0.0.1:7720 'this host cannot be a node; run .pangea check. there'
}
case_host_kernel_log() {
	host_log_is_clean
}
run_cases "$0"
