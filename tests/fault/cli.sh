#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck source=tests/guests/suite-lib.sh
# What a user or a stranger can do wrong, as far as it needs no lab: exit code, sentence, at most 10 s, nothing left behind.
# `pangea run` looks at the options, then reads the files, then probes /dev/kvm, then joins the nodes and only then looks into the kernel
# file: what comes after the probe is here only where KVM is native, and in any case in the suites `one` and `running`.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$here/../..
PANGEA=${PANGEA:-${PANGEA_BUILD:-$root/build}/pangea}
[[ -x $PANGEA ]] || { echo "there is no $PANGEA: run make first" >&2; exit 1; }
source "$here/../guests/suite-lib.sh"

native=$("$root/tests/lab/native" || true)
native=${native%%:*}
one=(--node 'local,cpus=1,mem=64M')

# wrong CODE SENTENCE COMMAND...: that is how pangea COMMAND ends.
wrong() {
	local want=$1 sentence=$2
	shift 2
	begin "$PANGEA" "$@"
	finish 10
	expect_code "$want"
	expect_err "$sentence"
}

case_no_command() {
	wrong 1 "no command: try 'pangea run'"
}
case_unknown_command() {
	wrong 1 "'launch'" launch
}
case_unknown_option() {
	wrong 1 'cpu-count' run --cpu-count 4
}
case_option_without_value() {
	wrong 1 'kernel' run --kernel
}
case_no_nodes() {
	wrong 1 'no nodes: give at least one' run --kernel /etc/hostname
}
case_no_kernel_given() {
	wrong 1 'no kernel: give one with --kernel' run "${one[@]}"
}
case_65_nodes() {
	local nodes=() n
	for ((n = 0; n < 65; n++)); do nodes+=("${one[@]}"); done
	wrong 1 'there are more than 64 nodes: leave some out' run "${nodes[@]}" --kernel /etc/hostname
}
case_no_vcpus() {
	wrong 1 'no node has a CPU' run --node local,cpus=0,mem=64M --node local,cpus=0,mem=64M --kernel /etc/hostname
}
case_too_many_vcpus() {
	wrong 1 'CPUs' run --node local,cpus=4000,mem=64M --kernel /etc/hostname
	wrong 1 '1025 CPUs in all are more than the 1024' run --node local,cpus=1000,mem=64M --node local,cpus=25,mem=64M --kernel /etc/hostname
}
case_no_memory() {
	wrong 1 'is too little' run --node local,cpus=1,mem=2M --kernel /etc/hostname
}
case_odd_memory() {
	wrong 1 'is not a multiple of 2 MiB' run --node local,cpus=1,mem=65M --kernel /etc/hostname
}
case_first_node_remote() {
	wrong 1 'the first node is not local' run --node 127.0.0.1:7700,cpus=1,mem=64M --kernel /etc/hostname
}
case_budget_too_small() {
	wrong 1 'node 0: mem-budget=64M is too little' run --node local,cpus=1,mem=64M,mem-budget=64M --kernel /etc/hostname
}
case_bad_port_number() {
	wrong 1 '70000' run "${one[@]}" --node 127.0.0.1:70000,cpus=1,mem=64M --kernel /etc/hostname
}
case_config_missing() {
	wrong 1 '/nonexistent.json' run --config /nonexistent.json
}
case_config_not_json() {
	echo '{ "node": [' >"$tmp/vm.json"
	wrong 1 'vm.json' run --config "$tmp/vm.json"
}
case_config_unknown_key() {
	echo '{ "nodes": [] }' >"$tmp/vm.json"
	wrong 1 'nodes' run --config "$tmp/vm.json"
}

case_kernel_missing() {
	wrong 1 'cannot read the kernel /nonexistent/vmlinuz: No such file or directory' run "${one[@]}" --kernel /nonexistent/vmlinuz
}
case_kernel_is_a_directory() {
	wrong 1 'cannot read the kernel /etc: it is not a regular file' run "${one[@]}" --kernel /etc
}
case_symbols_are_a_fifo() {
	mkfifo "$tmp/fifo"
	wrong 1 "cannot read the symbols $tmp/fifo: it is not a regular file" run "${one[@]}" --kernel /etc/hostname --symbols "$tmp/fifo"
}
case_config_is_a_fifo() {
	mkfifo "$tmp/config"
	wrong 1 "cannot read it: it is not a regular file" run --config "$tmp/config"
}
case_initrd_missing() {
	wrong 1 'cannot read the initrd /nonexistent/initrd: No such file' run "${one[@]}" --kernel /etc/hostname --initrd /nonexistent/initrd
}
needs_native() {
	[[ $native == native ]] || { skip "KVM here is $native; the suite 'one' has it"; return 1; }
}
case_kernel_empty() {
	needs_native || return
	: >"$tmp/empty"
	wrong 1 'is empty: give the vmlinuz' run "${one[@]}" --kernel "$tmp/empty"
}
case_kernel_truncated() {
	needs_native || return
	head -c 100000 "$KERNEL" >"$tmp/cut"
	wrong 1 'truncated' run "${one[@]}" --kernel "$tmp/cut"
}
case_kernel_not_one() {
	needs_native || return
	wrong 1 'is not a bzImage' run "${one[@]}" --kernel /etc/hostname
}
case_kvm_that_emulates() {
	[[ $native == emulated ]] || { skip "KVM here is $native"; return; }
	wrong 2 'this KVM emulates guest kernels .*; use a host whose KVM has VMX or SVM to itself, or the lab in QEMU: make demo' run "${one[@]}" \
		--kernel /etc/hostname
}
case_no_kvm() {
	[[ $native == absent && ! -e /dev/kvm ]] || { skip "KVM here is $native; the suite 'one' has it"; return; }
	wrong 2 'there is no KVM here' run "${one[@]}" --kernel /etc/hostname
}
case_kvm_that_is_none() { # whatever is behind the name
	if ! [[ -e /dev/kvm && $(id -u) == 0 ]] || ! unshare -m true 2>/dev/null; then
		skip 'it needs root and a /dev/kvm to hide'
		return
	fi
	# shellcheck disable=SC2016 # for the inner shell
	begin unshare -m sh -c 'mount --bind /dev/null /dev/kvm && exec "$@"' sh "$PANGEA" run "${one[@]}" --kernel /etc/hostname
	finish 10
	expect_code 2
	expect_err 'KVM cannot run a guest'
}
case_check_of_this_host() {
	begin "$PANGEA" check
	finish 30
	case $native in
	native) [[ $code == [01] ]] || fail "exit code $code" ;; # other things than KVM may be amiss
	*)
		expect_code 1
		expect_out FAIL
		;;
	esac
}
case_check_json() {
	begin "$PANGEA" check --json
	finish 30
	expect_out '"checks"'
}

case_keygen() {
	begin "$PANGEA" keygen "$tmp/k/key"
	finish 5
	expect_code 0
	[[ $(stat -c %a "$tmp/k/key") == 600 ]] || fail "mode $(stat -c %a "$tmp/k/key"), expected 600"
}
case_keygen_keeps_a_key() {
	cp "$tmp/k/key" "$tmp/k/was"
	wrong 1 'exists and is kept' keygen "$tmp/k/key"
	cmp -s "$tmp/k/key" "$tmp/k/was" || fail 'the key was changed'
}
case_keygen_force() {
	begin "$PANGEA" keygen --force "$tmp/k/key"
	finish 5
	expect_code 0
	! cmp -s "$tmp/k/key" "$tmp/k/was" || fail 'the key was not changed'
}
case_keygen_unwritable() {
	wrong 1 'cannot write the key file' keygen /proc/nonexistent/key
}
case_key_missing() {
	wrong 1 'there is no cluster key at /nonexistent/key: make one with' node --listen 127.0.0.1:0 --key /nonexistent/key
}
case_key_readable_by_others() {
	cp "$tmp/k/key" "$tmp/k/open"
	chmod 644 "$tmp/k/open"
	wrong 1 'others can access the key file .*chmod 600' node --listen 127.0.0.1:0 --key "$tmp/k/open"
}
case_key_garbage() {
	head -c 64 /dev/urandom >"$tmp/k/garbage"
	chmod 600 "$tmp/k/garbage"
	wrong 1 'is not a key file: it must hold 64 hexadecimal digits' node --listen 127.0.0.1:0 --key "$tmp/k/garbage"
}
case_key_is_a_fifo() { # must not hang
	mkfifo -m 600 "$tmp/k/fifo"
	wrong 1 'is not a file' node --listen 127.0.0.1:0 --key "$tmp/k/fifo"
}

agent_up() {
	start_agent --listen 127.0.0.1:0 --key "$tmp/k/key"
}
case_port_in_use() {
	agent_up || return
	wrong 1 "port $port of 127.0.0.1 is in use by another program" node --listen "127.0.0.1:$port" --key "$tmp/k/key"
}
case_address_of_another_host() {
	wrong 1 'is not an address of this host' node --listen 192.0.2.1:7700 --key "$tmp/k/key"
}
case_listen_without_port() {
	wrong 1 '127.0.0.1' node --listen 127.0.0.1 --key "$tmp/k/key"
}
case_agent_default_is_loopback() {
	"$PANGEA" node --help | grep -q '127.0.0.1:7700 by default' || fail 'the help does not say so'
	if grep -qi ':1E14 .* 0A ' /proc/net/tcp /proc/net/tcp6; then
		skip 'port 7700 is taken here'
		return
	fi
	start_agent --key "$tmp/k/key" || return
	[[ $(awk '$4 == "0A" && $2 ~ /:1E14$/ { print $2 }' /proc/net/tcp /proc/net/tcp6) == 0100007F:1E14 ]] ||
		fail 'it listens elsewhere too'
}
ends() { # SIGNAL CODE: an idle agent, and its port is free at once
	agent_up || return
	local was=$port
	mark
	stop_agent "$1"
	within 2 'its end'
	expect_code "$2"
	start_agent --listen "127.0.0.1:$was" --key "$tmp/k/key"
}
case_agent_sigterm() {
	ends TERM 6
}
case_agent_sigint() {
	ends INT 6
}
case_agent_sigkill() {
	ends KILL 137
}

turned_away() { # SENTENCE: in the agent's log, in time; and it serves on
	local n
	for ((n = 0; n < 80; n++)); do
		grep -q -e "$1" "$tmp/agent" && break
		sleep 0.1
	done
	grep -q -e "$1" "$tmp/agent" || fail "the agent does not say '$1'"
	kill -0 "$agent" 2>/dev/null || fail 'the agent has ended'
	(exec 7<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || fail 'the agent takes no connections any more'
}
case_client_sends_garbage() {
	agent_up || return
	exec 8<>"/dev/tcp/127.0.0.1/$port"
	head -c 4096 /dev/urandom >&8 2>/dev/null
	turned_away 'turned away: .* is not a pangea node'
	exec 8>&-
}
case_client_sends_nothing() {
	agent_up || return
	mark
	exec 8<>"/dev/tcp/127.0.0.1/$port"
	turned_away 'turned away: .* sent no .* within 5 s'
	within 8 'turning away a silent client'
	exec 8>&-
}
case_client_hangs_up() {
	agent_up || return
	exec 8<>"/dev/tcp/127.0.0.1/$port"
	exec 8>&-
	turned_away 'turned away: .* hung up'
}
# A hello (auth.h) is 72 bytes: the magic, the version, then, here, zeros.
hello_of() { # VERSION (an octal escape): 377 is nobody's
	printf 'PANGEA01%b\000' "\\0$1"
	head -c 62 /dev/zero
}
case_client_of_another_version() {
	agent_up || return
	exec 8<>"/dev/tcp/127.0.0.1/$port"
	hello_of 377 >&8
	timeout 5 head -c 80 <&8 >"$tmp/reply"
	exec 8>&-
	[[ $(head -c 8 "$tmp/reply") == PANGEA01 ]] || fail 'no reply that says its version'
	turned_away 'runs pangea protocol 255, this is [0-9]*: install the same version on both hosts'
}
case_many_silent_clients() { # they hold up nobody
	agent_up || return
	local fds=() fd n
	for ((n = 0; n < 20; n++)); do
		exec {fd}<>"/dev/tcp/127.0.0.1/$port"
		fds+=("$fd")
	done
	exec 8<>"/dev/tcp/127.0.0.1/$port"
	hello_of 377 >&8
	mark
	timeout 5 head -c 80 <&8 >"$tmp/reply"
	within 2 'an answer beside silent clients'
	[[ -s $tmp/reply ]] || fail 'no answer beside silent clients'
	exec 8>&-
	for fd in "${fds[@]}"; do exec {fd}>&-; done
}

case_version() {
	begin "$PANGEA" --version
	finish 5
	expect_code 0
	expect_out '^pangea [0-9]'
}
case_stats_without_a_node() {
	PANGEA_RUNTIME_DIR=$tmp/none wrong 1 'no node of Pangea runs on this host' stats
}
case_stats_of_no_number() {
	wrong 1 "--node: '64' is not the number of a node" stats --node 64
}
case_tracepoints_are_listed() {
	readelf -n "$PANGEA" >"$out" 2>"$err" || fail "readelf: exit code $?"
	expect_out 'Provider: pangea'
	local probe
	for probe in fault_begin fault_end message_sent message_received migration eviction; do
		expect_out "Name: $probe"
	done
}
case_help_of_each_command() {
	local command
	for command in run node keygen check stats; do
		"$PANGEA" "$command" --help >"$out" || fail "pangea $command --help: exit code $?"
		expect_out "^Usage: pangea $command"
	done
}
run_cases "${BASH_SOURCE[0]}"
