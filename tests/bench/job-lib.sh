# shellcheck shell=dash disable=SC2034 # the jobs use what is set here
# SPDX-License-Identifier: Apache-2.0
# What the benchmark's jobs, `job`, `job-local` and `job-pair`, share; sourced by them. Beside it lie timeto and reqreply. From the environment: ROUNDS;
# LIMIT, seconds a machine may take; DEADLINE, seconds after which no more is begun; PANGEA, KERNEL, INITRD (their places in a lab host are the
# defaults). What jobs print, for tests/bench/run:
#   ROW name unit ours reference   (`-`: was not measured; reference `-`: has none)
#   NOTE what failed and why
#   STAGE what is going on
: "${PANGEA:=/usr/bin/pangea}" "${KERNEL:=/lab/cloud/vmlinuz}" "${INITRD:=/lab/guest.cpio.gz}"
: "${ROUNDS:=3}" "${LIMIT:=180}" "${DEADLINE:=3600}"
here=$(cd "$(dirname "$0")" && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
read -r began _ </proc/uptime
began=${began%.*}

# Every machine gets the same kernel, initrd and command line, 2 vCPUs and 512 MiB.
options='quiet panic=-1'
# In the lab, machines that are compared with one of several nodes: their clock runs as many times slower as their processor does.
# 64 times: kHz that do not fit 32 bits times 125, so the guest's kernel believes its timer to be slower than its clock, and has some 15
# interrupts a tick, here and there alike. 13 times would fit, and five times as many ticks cost more.
khz=$(sed -n 's/.*tsc_early_khz=\([0-9]*\).*/\1/p' /proc/cmdline)
slow=${khz:+tsc_early_khz=$((khz * 64))} by=${khz:+64}
on='' # what machines are started by
: "${by:=1}" # what such a guest calls a nanosecond

has() {
	case " $PHASES " in *" $1 "*) return 0 ;; esac
	return 1
}
row() { echo "ROW $*"; }
note() { echo "NOTE $*"; }
left() {
	read -r up _ </proc/uptime
	left=$((DEADLINE - ${up%.*} + began))
	[ "$left" -le "$LIMIT" ] || left=$LIMIT
	[ "$left" -gt 5 ]
}

# machine NAME COMMAND...: runs it, by the words in $on (taskset, say) if there are any; the time to its init, in seconds, in $time, `-` if it failed; its console in $tmp/NAME.
machine() {
	name=$1
	shift
	time=-
	rm -f "$tmp/$name"
	if ! left; then
		note "$name: not begun, as the time for the whole run is over"
		return 1
	fi
	# shellcheck disable=SC2086 # words
	if "$here/timeto" INIT-REACHED "$left" "$tmp/$name" $on "$@" >"$tmp/time" 2>"$tmp/err"; then
		time=$(awk '$1 == "timeto" { printf "%.3f\n", $2 / 1e9 }' "$tmp/time")
		grep -a "^RESULT .* FAILED" "$tmp/$name" >"$tmp/failed" || return 0
		note "$name: $(tr -d "\r" <"$tmp/failed" | tr "\n" " ")"
		return 0
	fi
	note "$name: $(tr -d '\r' <"$tmp/err" | grep -v '^$' | tail -n 3 | tr '\n' ' ') console: $(tr -d '\r' <"$tmp/$name" | tail -n 2 | tr '\n' ' ')"
	return 1
}
ours() { # NAME JOB OPTION...
	name=$1 job=$2
	shift 2
	machine "$name" "$PANGEA" run --quiet "$@" --kernel "$KERNEL" --initrd "$INITRD" --append "$options $job"
}

# Ours adds these by itself, and tsc_early_khz=, which QEMU's guest needs not: it has kvmclock.
defaults='console=ttyS0 tsc=reliable clocksource=tsc nokaslr numa_balancing=disable nowatchdog relax_domain_level=3 psi=0'
theirs() { # NAME JOB
	machine "$1" qemu-system-x86_64 -accel kvm -cpu host -smp 2 -m 512M -nodefaults -no-user-config -display none -no-reboot -serial stdio \
		-kernel "$KERNEL" -initrd "$INITRD" -append "$defaults $options $2"
}

# value NAME PATTERN KEY: of the first line of that console that begins with PATTERN, what follows KEY=; `-` if it is not there.
value() {
	tr -d '\r' <"$tmp/$1" 2>/dev/null | awk -v pattern="$2" -v key="$3=" '
		index($0, pattern) == 1 {
			for (i = 1; i <= NF; i++)
				if (index($i, key) == 1) { print substr($i, length(key) + 1); found = 1; exit }
		}
		END { if (!found) print "-" }'
}
# clock_of_1 KEY: of node 1's clock in the statistics of the last run.
clock_of_1() {
	awk -v key="\"$1\":" '$1 == key { sub(",", "", $2); if (++n == 2) { print $2; exit } } END { if (n < 2) print "-" }' "$tmp/stats" 2>/dev/null || echo -
}
# total KEY: of "all" in the statistics of the last run.
total() {
	awk -v key="\"$1\":" '/"all":/ { all = 1 } all && $1 == key { sub(",", "", $2); print $2; found = 1; exit } END { if (!found) print "-" }' \
		"$tmp/stats" 2>/dev/null || echo -
}
# rdma_device: an RDMA device of this host, in $device; in the lab soft-RoCE, which is made.
rdma_device() {
	if [ ! -d /sys/class/infiniband ] && command -v lab-rdma >/dev/null; then lab-rdma >/dev/null 2>&1; fi
	device=
	for d in /sys/class/infiniband/*; do [ ! -e "$d" ] || device=${d##*/}; done
	[ -n "$device" ] || note 'this host has no RDMA device'
}
us() { awk -v ns="$1" -v by="${2:-1}" 'BEGIN { if (ns == "-" || ns == "") print "-"; else printf "%.1f\n", ns * by / 1000 }'; }

# rounds: the job's own `round N`, as often as asked for.
rounds() {
	n=1
	while [ "$n" -le "$ROUNDS" ]; do
		round "$n"
		n=$((n + 1))
	done
	echo "STAGE done"
}
