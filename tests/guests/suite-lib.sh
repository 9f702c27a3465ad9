# shellcheck shell=dash
# SPDX-License-Identifier: Apache-2.0
# What the suites of test cases share. Sourced by a suite, which is a script (dash, bash or busybox) with a function `case_NAME` a case, run
# in the order in which they are written, and `run_cases "$0"` as its last line. It runs in a lab host as its job, or directly where
# /dev/kvm is native; tests/guests/suite starts it.
#
#   CASE name PASS|FAIL|SKIP [reason] (seconds)      one line a case; after a FAIL what the programs printed, indented
#
# A case checks one behaviour. It fails by `fail WHY` (the first reason counts), is left out by `skip WHY`, and may look at what an earlier
# case booted: $out and $err (console and messages of the last `start`), $code (its exit code). After each case no process of the
# product may be left (but $keep), in the lab no listening socket and no memory either.
# CASES="a b" in the environment runs some.
: "${PANGEA:=/usr/bin/pangea}" "${KERNEL:=/lab/cloud/vmlinuz}" "${GENERIC:=/lab/generic/vmlinuz}" "${INITRD:=/lab/guest.cpio.gz}"
: "${VMLINUX:=/job/vmlinux}" "${GUESTS:=/job/guests}" "${PROGRAMS:=/job/programs.cpio.gz}"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
out=$tmp/out err=$tmp/err
code='' pid='' keep='' verdict='' reason='' agent='' marked=0 port=''
in_lab=0
[ ! -e /lab/env ] || in_lab=1
self_exe=$(readlink -f "$PANGEA")

fail() {
	[ "$verdict" = FAIL ] || reason=$*
	verdict=FAIL
}

skip() {
	[ "$verdict" = FAIL ] && return
	verdict=SKIP reason=$*
}

# now: hundredths of a second since boot. `mark`, then `within SEC WHAT`: it took no longer since.
now() {
	local up
	read -r up _ </proc/uptime
	up=${up%.*}${up#*.}
	echo "${up#0}"
}
mark() {
	marked=$(now)
}
within() {
	local took=$(($(now) - marked))
	[ "$took" -le $(($1 * 100)) ] || fail "$2 took $((took / 100)).$((took / 10 % 10)) s, more than $1 s"
}

# begin COMMAND...: run it in the background; $pid is its process, $out and $err what it prints, $tmp/code will hold its exit code.
begin() {
	rm -f "$tmp/code" "$tmp/pid"
	: >"$out"
	: >"$err"
	code='' pid=''
	(
		# shellcheck disable=SC2016 # for the inner shell
		sh -c 'echo $$ >"$0.new" && mv "$0.new" "$0" && exec "$@"' "$tmp/pid" "$@" </dev/null >"$out" 2>"$err"
		echo $? >"$tmp/code.new"
		mv "$tmp/code.new" "$tmp/code"
	) 2>/dev/null &
	while [ ! -s "$tmp/pid" ]; do sleep 0.05; done
	pid=$(cat "$tmp/pid")
}

# start ARG...: a machine in the background.
start() {
	begin "$PANGEA" run "$@"
}

# finish SEC: wait for what `begin` started; $code is its exit code. One that does not end says where its vCPUs are, is killed, and the
# case fails.
finish() {
	local p end=$(($(now) + $1 * 100))
	while [ ! -s "$tmp/code" ]; do
		if [ "$(now)" -ge $end ]; then
			fail "no end after $1 s"
			for p in "$pid" $(children "$pid"); do kill -USR2 "$p" 2>/dev/null; done
			sleep 2
			kill -KILL "$pid" 2>/dev/null
			sleep 1
			break
		fi
		sleep 0.1
	done
	code=$(cat "$tmp/code" 2>/dev/null)
}

# run SEC ARG...: a machine from start to end.
run() {
	local limit=$1
	shift
	start "$@"
	finish "$limit"
}

# await FILE PATTERN SEC: until a line like that is in the file, or what was started has ended.
await() {
	local end=$(($(now) + $3 * 100))
	until grep -q -e "$2" "$1"; do
		if [ -s "$tmp/code" ]; then
			grep -q -e "$2" "$1" && return 0
			code=$(cat "$tmp/code")
			fail "it ended (exit code $code) before it printed '$2'"
			return 1
		fi
		if [ "$(now)" -ge $end ]; then
			fail "no '$2' within $3 s"
			return 1
		fi
		sleep 0.1
	done
}

expect_code() {
	[ "$code" = "$1" ] || fail "exit code $code, expected $1"
}
expect_out() {
	grep -q -e "$1" "$out" || fail "the console does not say '$1'"
}
expect_err() {
	grep -q -e "$1" "$err" || fail "no message '$1'"
}

# result NAME: what the guest's init said of its job.
result() {
	if grep -q "^RESULT $1 ok" "$out"; then
		return 0
	elif grep -q "^RESULT $1 skipped" "$out"; then
		fail "the guest skipped $1"
	elif grep -q "^RESULT $1 FAILED" "$out"; then
		fail "in the guest: $(grep "^RESULT $1 FAILED" "$out" | tr -d '\r')$(grep -a "^$1[ :]" "$out" | grep -v ' ok.$' | tail -n 4 | tr -d '\r' |
			sed 's/^/; /' | tr -d '\n')"
	else
		fail "the guest never finished $1"
	fi
}

# linux SEC WORDS ARG...: boot the cloud kernel with these words on its command line.
#
# Machines of several nodes: an emulated host computes some fifty times slower than a real one, but its clock runs as fast, so a guest's
# timer ticks, each of which looks at pages that all nodes share, would be nearly all it does. There the guest's clock is told to run as
# many times slower, so that ticks and work are in the proportion of a real host.
slow_clock() {
	local khz
	khz=$(sed -n 's/.*tsc_early_khz=\([0-9]*\).*/\1/p' /proc/cmdline)
	[ -z "$khz" ] || echo "tsc_early_khz=$((khz * 64))"
}
linux() {
	local limit=$1 words
	words=$(echo "$2" | tr -s '\n\t' ' ')
	case "$*" in *--node*--node*) words="$words $(slow_clock)" ;; esac
	shift 2
	run "$limit" "$@" --kernel "$KERNEL" --initrd "$INITRD" --append "quiet panic=-1 $words"
}

# children PID: its child processes, in the order in which they were started.
children() {
	cat /proc/"$1"/task/*/children 2>/dev/null | tr ' ' '\n' | sed '/^$/d' | sort -n
}

# node_pid N: the process of local node N (from 1) of the machine that `start` started.
node_pid() {
	children "$pid" | sed -n "$1p"
}

# start_agent ARG...: a `pangea node`; $agent is its process, $port its port, $tmp/agent what it says.
start_agent() {
	: >"$tmp/agent"
	"$PANGEA" node "$@" </dev/null >"$tmp/agent" 2>&1 &
	agent=$!
	keep=$agent
	local n=0
	until grep -q 'listening on' "$tmp/agent"; do
		if [ $n -ge 50 ]; then
			fail "the agent does not listen: $(tail -n 1 "$tmp/agent")"
			return 1
		fi
		sleep 0.1
		n=$((n + 1))
	done
	# shellcheck disable=SC2034 # for the cases
	port=$(sed -n 's/.*listening on .*:\([0-9]*\) .*/\1/p' "$tmp/agent" | head -n 1)
}

# stop_agent [SIGNAL]: end it; $code is its exit code.
stop_agent() {
	keep=
	[ -n "$agent" ] || return 0
	kill "-${1:-TERM}" "$agent" 2>/dev/null
	wait "$agent" 2>/dev/null
	code=$?
	agent=
}

# two_hosts: the beginning of a suite of two lab hosts. Host 2 becomes the agent, at $far, with the key $key; host 1, which waits for it, has
# the cases. If it does not come the suite ends: each case would fail, and none would say why.
two_hosts() {
	local n=0
	key=/job/cluster.key far=10.77.0.2:7700
	if [ "${HOST:-1}" = 2 ]; then
		chmod 600 "$key"
		exec "$PANGEA" node --listen "$far" --key "$key"
	fi
	until busybox nc -w 1 10.77.0.2 7700 </dev/null >/dev/null 2>&1; do
		if [ $n -ge 30 ]; then
			echo "the agent of host 2 does not listen at $far"
			exit 1
		fi
		sleep 1
		n=$((n + 1))
	done
}

# reboots_on_triple_fault ARG...: a guest that triple-faults is started anew each time, until it is told to end.
reboots_on_triple_fault() {
	local n=0
	start "$@" --kernel "$GUESTS/triple" --triple-fault reboot
	while [ "$(grep -c 'triple fault now' "$out")" -lt 3 ] && [ $n -lt 200 ]; do
		sleep 0.1
		n=$((n + 1))
	done
	[ "$(grep -c 'triple fault now' "$out")" -ge 3 ] || fail 'the guest was not started anew'
	kill -TERM "$pid"
	finish 5
	expect_code 6
}

# host_log_is_clean: the kernel of this host has not complained of anything that the cases did.
host_log_is_clean() {
	local bad='BUG:|Oops|WARNING: |soft lockup|hung task'
	[ $in_lab = 1 ] || { skip 'the log of this machine is not ours to judge'; return; }
	dmesg >"$out"
	! grep -qE "$bad" "$out" || fail "$(grep -E "$bad" "$out" | head -n 1)"
}

# processes: those of the product, without the ones in $keep and their children.
processes() {
	local d p
	for d in /proc/[0-9]*; do
		[ "$(readlink "$d/exe" 2>/dev/null)" = "$self_exe" ] || continue
		p=${d#/proc/}
		case " $keep $before " in
		*" $p "*) ;;
		*) echo "$p" ;;
		esac
	done
}

listening() {
	cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk '$4 == "0A"' | wc -l
}

shmem_kib() {
	awk '$1 == "Shmem:" { print $2 }' /proc/meminfo
}

# leftovers: 5 s are enough for what was started to be gone.
leftovers() {
	local n=0 left sockets memory
	while :; do
		left=$(processes | tr '\n' ' ')
		sockets=0 memory=0
		if [ $in_lab = 1 ] && [ -z "$keep" ]; then
			sockets=$(($(listening) - sockets_before))
			memory=$(($(shmem_kib) - shmem_before))
		fi
		[ -n "$left" ] || [ $sockets -gt 0 ] || [ $memory -gt 32768 ] || return 0
		[ $n -lt 50 ] || break
		sleep 0.1
		n=$((n + 1))
	done
	[ -z "$left" ] || fail "left behind: process $left"
	[ $sockets -le 0 ] || fail "left behind: $sockets listening sockets"
	[ $memory -le 32768 ] || fail "left behind: $memory KiB of shared memory"
	for p in $left; do
		echo "    left: $p: $(tr '\0' ' ' <"/proc/$p/cmdline") state $(awk '$1 == "State:" { print $2 }' "/proc/$p/status")" 2>/dev/null
		kill -KILL "$p" 2>/dev/null
	done
}

# A case that `fail`s leaves its machine running, perhaps: it must not disturb the next.
sweep() {
	[ -z "$pid" ] || [ -s "$tmp/code" ] || {
		kill -CONT "$pid" 2>/dev/null
		kill -KILL "$pid" 2>/dev/null
	}
	[ -z "$agent" ] || stop_agent KILL
}

run_case() {
	local started took
	started=$(now)
	verdict=PASS reason=
	case $(type "case_$1" 2>/dev/null) in
	*function*) "case_$1" ;;
	*) fail 'there is no such case' ;;
	esac
	sweep
	leftovers
	took=$(($(now) - started))
	echo "CASE $1 $verdict${reason:+ $reason} ($((took / 100)).$((took / 10 % 10)) s)"
	[ $verdict = FAIL ] || return 0
	for f in "$err" "$out" "$tmp/agent"; do
		[ -s "$f" ] || continue
		echo "    -- ${f##*/}:"
		# The first error and the last lines; awk ends the last line, which a console may lack.
		{ head -n -25 "$f" | grep -a -m 3 'error:'; tail -n 25 "$f"; } | tr -d '\r' | awk '{ print "    " $0 }'
	done
}

run_cases() {
	sockets_before=$(listening)
	shmem_before=$(shmem_kib)
	before=
	before=$(processes | tr '\n' ' ')
	for name in ${CASES:-$(sed -n 's/^case_\([a-z0-9_]*\)().*/\1/p' "$1")}; do
		run_case "$name"
	done
}
