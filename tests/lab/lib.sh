# shellcheck shell=bash disable=SC1003
# SPDX-License-Identifier: Apache-2.0
# What the lab's scripts share: where things are, messages, a progress indication, locks, and cleaning up. Sourced, never run.
#   ROOT   the source tree          LAB    what the lab builds and caches (build/lab, or $PANGEA_LAB_DIR)
#   BUILD  the build folder of the product (build, or $PANGEA_BUILD, for instance build/address)
# A script that sources this gets one EXIT trap, which removes every path in the array `cleanup` and ends every process in `children`.
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
LAB=${PANGEA_LAB_DIR:-$ROOT/build/lab}
BUILD=${PANGEA_BUILD:-$ROOT/build}
PATH=$PATH:/usr/sbin:/sbin
: "${ROOT:?}" "${LAB:?}" "${BUILD:?}"
cleanup=()
children=()
progress_pid=
tty=

# say WORDS: one line to the person, on stderr, as stdout belongs to jobs.
say() { echo "lab: $*" >&2; }

# die WHAT REMEDY: the error line, then what to do next; exit 125 tells "the lab failed" from a job's own codes.
die()
{
	progress_end
	echo "lab: error: $1" >&2
	[ $# -lt 2 ] || echo "lab: to do: $2" >&2
	exit 125
}

# as_root COMMAND: run it as root, through sudo where we are not.
as_root()
{
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo -- "$@"
	else
		echo "lab: error: '$*' needs root, and there is no sudo here" >&2
		return 1
	fi
}

# progress TEXT / progress_end: a counter of seconds on a terminal; elsewhere a short line every 5 s. Only builtins in the loop, so that
# ending it leaves no child; it lets go of the lock and ends with its parent.
progress()
{
	progress_end
	(
		trap - EXIT INT TERM HUP
		[ -z "${lock_fd:-}" ] || exec {lock_fd}>&-
		exec {tick}<> <(:)
		start=$SECONDS
		spin='|/-\'
		i=0
		while kill -0 $$ 2>/dev/null; do
			if [ -t 2 ]; then
				read -rt 0.25 -u "$tick" || true
				i=$((i + 1))
				[ $i -lt 4 ] || printf '\r\033[K%s %s %ds ' "${spin:i%4:1}" "$1" $((SECONDS - start)) >&2
			else
				read -rt 5 -u "$tick" || true
				echo "     ... $1, $((SECONDS - start)) s" >&2
			fi
		done
	) </dev/null &
	progress_pid=$!
}

progress_end()
{
	[ -n "$progress_pid" ] || return 0
	kill -KILL "$progress_pid" 2>/dev/null || true # not a signal that it may have a trap for
	wait "$progress_pid" 2>/dev/null || true
	progress_pid=
	[ ! -t 2 ] || printf '\r\033[K' >&2
}

# lock NAME: one script at a time builds NAME; released when this script ends.
lock()
{
	mkdir -p "$LAB"
	exec {lock_fd}>"$LAB/.lock.$1"
	flock "$lock_fd"
}

# newer FILE INPUTS: true if FILE is missing or older than any input (folders: than anything in them).
newer()
{
	local out=$1
	shift
	[ -e "$out" ] || return 0
	[ -n "$(find "$@" -newer "$out" -print -quit 2>/dev/null)" ]
}

# libraries PROGRAMS: the shared objects that these need, one path a line, with the dynamic loader.
libraries()
{
	ldd "$@" 2>/dev/null | awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\/.*ld-linux/ { print $1 }' | sort -u
}

# install_files ROOTDIR PATHS: copy files to the same paths under ROOTDIR, links resolved.
install_files()
{
	local to=$1 f
	shift
	for f in "$@"; do
		mkdir -p "$to$(dirname "$f")"
		[ -e "$to$f" ] || cp -L "$f" "$to$f"
	done
}

# pack DIR FILE: DIR as a cpio archive owned by root, in FILE when complete.
pack()
{
	(cd "$1" && find . -print0 | sort -z | cpio --null -o -H newc -R 0:0 --quiet --reproducible) >"$2.new.$$"
	mv "$2.new.$$" "$2"
}

# helper NAME [OPTION...]: compile tests/lab/NAME.c as $LAB/NAME, if it is not there or older.
helper()
{
	local out=$LAB/$1 src=$ROOT/tests/lab/$1.c
	shift
	newer "$out" "$src" || return 0
	mkdir -p "$LAB"
	gcc -std=c17 -D_GNU_SOURCE -O2 -Wall -Wextra -Werror "$@" -o "$out.new.$$" "$src" || die "cannot compile $src" 'tests/lab/install'
	mv "$out.new.$$" "$out"
}

at_exit()
{
	local status=$? p
	# A subshell that is ended before it has dropped its traps must not clean up after the script.
	[ "$BASHPID" = $$ ] || exit "$status"
	progress_end
	[ -z "${tty:-}" ] || stty "$tty" # as it was before a script made it raw
	for p in "${children[@]}"; do
		kill -KILL "$p" 2>/dev/null || true
	done
	[ ${#cleanup[@]} = 0 ] || rm -rf "${cleanup[@]}"
	exit "$status"
}
trap at_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP
