#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash source=tests/guests/suite-lib.sh
# One node: what boots, how a machine ends, and what a user can get wrong.
. "${SUITE_LIB:-./suite-lib.sh}"

one='--node local,cpus=1,mem=64M'
quick() { # SEC GUEST ARG...: a freestanding guest
	local limit=$1 guest=$2
	shift 2
	# shellcheck disable=SC2086 # words
	run "$limit" $one --kernel "$GUESTS/$guest" "$@"
}

case_multiboot() {
	quick 20 hello
	expect_out '^hello'
	expect_err 'booting .*hello (multiboot) with 1 vCPUs on 1 nodes'
	expect_code 0
}
case_pvh() {
	quick 20 hello-pvh
	expect_out '^hello'
	expect_err 'booting .*hello-pvh (PVH)'
	expect_code 0
}
case_quiet() {
	quick 20 hello --quiet
	expect_code 0
	[ ! -s "$err" ] || fail 'messages in spite of --quiet'
}
case_serial_to_file() {
	quick 20 hello --serial "file:$tmp/serial"
	expect_code 0
	grep -q '^hello' "$tmp/serial" || fail 'the file has no hello'
	[ ! -s "$out" ] || fail 'the console went to stdout too'
}
case_serial_file_unwritable() {
	quick 10 hello --serial file:/nonexistent/console
	expect_code 1
	expect_err "cannot write the guest's console to /nonexistent/console"
}
case_unmapped_ports_and_memory() {
	quick 30 unmapped
	expect_out 'ports ok'
	expect_out 'memory ok'
	expect_code 0
}
case_unmapped_pvh() {
	quick 30 unmapped-pvh
	expect_out 'memory ok'
	expect_code 0
}
case_debug_exit_code() { # cpl3 ends with 4 on an option that makes no sense
	quick 20 cpl3 --append pages=0
	expect_code 68
}
case_triple_fault_stops() {
	quick 20 triple
	expect_out 'triple fault now'
	expect_code 5
	expect_err 'the guest crashed on node 0 (local)'
}
case_triple_fault_reboots() {
	# shellcheck disable=SC2086 # words
	reboots_on_triple_fault $one
}
case_triple_fault_no_reboot() {
	quick 20 triple --triple-fault reboot --no-reboot
	expect_code 7
}
ended_by() { # SIGNAL TEXT
	# shellcheck disable=SC2086 # words
	start $one --kernel "$GUESTS/hang"
	await "$out" hanging 20 || return
	mark
	kill "-$1" "$pid"
	finish 10
	within 5 "the end after SIG$1"
	expect_code 6
	expect_err "stopped: it was ended by a signal: $2"
}
case_sigint() {
	ended_by INT Interrupt
}
case_sigusr2() { # says where the vCPU is, and ends nothing
	start --node local,cpus=1,mem=64M --kernel "$GUESTS/hang"
	await "$out" hanging 20 || return
	kill -USR2 "$pid"
	await "$err" 'vCPU 0: rip 0x.*halted' 10 || return
	kill -TERM "$pid"
	finish 10
	expect_code 6
}
case_sigterm() {
	ended_by TERM Terminated
}
case_sighup() {
	ended_by HUP Hangup
}
case_sigkill() { # no exit code of ours, but nothing left behind
	# shellcheck disable=SC2086 # words
	start $one --kernel "$GUESTS/hang"
	await "$out" hanging 20 || return
	kill -KILL "$pid"
	finish 5
	expect_code 137
}

case_cloud_kernel() { # with all that the guest's jobs print, for the next case
	linux 120 'pangea.run=topology,expect-cpus=2,expect-nodes=1 pangea.arg=expect-mem=256M' --node local,cpus=2,mem=256M
	expect_out INIT-REACHED
	expect_err 'bzImage) with 2 vCPUs on 1 nodes'
}
case_cloud_kernel_topology() {
	result topology
}
case_power_off() {
	expect_code 0
}
case_vmlinux_pvh() {
	run 120 --node local,cpus=1,mem=256M --kernel "$VMLINUX" --initrd "$INITRD" --append 'quiet panic=-1 pangea.run=unmapped'
	expect_err 'vmlinux (PVH)'
	expect_out INIT-REACHED
	result unmapped
	expect_code 0
}
case_generic_kernel() {
	run 180 --node local,cpus=2,mem=384M --kernel "$GENERIC" --initrd "$INITRD" --append 'quiet panic=-1 pangea.run=topology,expect-cpus=2'
	expect_out INIT-REACHED
	result topology
	expect_code 0
}
# Programs of Debian's in the guest, as the benchmark runs them.
case_compile() {
	cat "$INITRD" "$PROGRAMS" >"$tmp/initrd"
	run 180 --node local,cpus=2,mem=384M --kernel "$KERNEL" --initrd "$tmp/initrd" \
		--append 'quiet panic=-1 pangea.run=compile,rounds=1,limit=60 pangea.run=kv,requests=300,limit=60'
	rm "$tmp/initrd"
	result compile
	expect_code 0
}
case_key_value_store() {
	result kv
}
case_reboot() {
	linux 180 'pangea.run=rebootonce' --node local,cpus=2,mem=256M
	expect_out '^REBOOT 1'
	result rebootonce
	[ "$(grep -c INIT-REACHED "$out")" = 2 ] || fail "$(grep -c INIT-REACHED "$out") boots, expected 2"
	expect_code 0
}
case_no_reboot() {
	linux 120 'pangea.run=unmapped pangea.end=reboot' --node local,cpus=1,mem=256M --no-reboot
	expect_out INIT-REACHED
	expect_code 7
}
case_linux_triple_fault() {
	linux 120 'pangea.run=triplefault' --node local,cpus=1,mem=256M
	expect_out TRIPLEFAULT
	expect_code 5
	expect_err 'the guest crashed on node 0 (local)'
}

case_kernel_missing() {
	quick 10 no-such-kernel
	expect_code 1
	expect_err 'cannot read the kernel .*/no-such-kernel: No such file'
}
bad_kernel() { # FILE SENTENCE
	# shellcheck disable=SC2086 # words
	run 10 $one --kernel "$1"
	expect_code 1
	expect_err "$2"
}
case_kernel_empty() {
	: >"$tmp/empty"
	bad_kernel "$tmp/empty" 'empty.* is empty: give the vmlinuz'
}
case_kernel_truncated() {
	head -c 100000 "$KERNEL" >"$tmp/cut"
	bad_kernel "$tmp/cut" 'cut is a bzImage, but truncated'
}
case_vmlinux_truncated() {
	head -c 100000 "$VMLINUX" >"$tmp/cut"
	bad_kernel "$tmp/cut" 'cut is an ELF, but truncated'
}
case_kernel_not_one() {
	bad_kernel /etc/hosts 'hosts is not a bzImage, an ELF with a PVH note or a multiboot kernel'
}
case_initrd_empty() {
	: >"$tmp/empty"
	# shellcheck disable=SC2086 # words
	run 10 $one --kernel "$GUESTS/hello" --initrd "$tmp/empty"
	expect_code 1
	expect_err '(--initrd) is empty'
}
case_initrd_too_big_for_ram() {
	head -c 80000000 /dev/zero >"$tmp/big"
	# shellcheck disable=SC2086 # words
	run 20 $one --kernel "$GUESTS/hello" --initrd "$tmp/big"
	rm -f "$tmp/big"
	expect_code 1
	expect_err '(--initrd) of .* does not fit'
}
case_less_ram_than_asked() {
	run 10 --node local,cpus=1,mem=64G --kernel "$GUESTS/hello"
	expect_code 2
	expect_err 'node 0 (local): its host has .* of memory available, and 64 GiB of guest RAM is asked of it'
}
case_no_dev_kvm() {
	[ $in_lab = 1 ] || { skip 'only in the lab: it takes /dev/kvm away'; return; }
	mv /dev/kvm /dev/kvm.away
	quick 10 hello
	mv /dev/kvm.away /dev/kvm
	expect_code 2
	expect_err 'there is no KVM here (/dev/kvm: No such file or directory); modprobe'
}
case_check_says_node() {
	begin "$PANGEA" check
	finish 30
	expect_code 0
	! grep -q FAIL "$out" || fail "pangea check has a FAIL: $(grep FAIL "$out" | head -n 1)"
}
case_host_kernel_log() {
	host_log_is_clean
}
run_cases "$0"
