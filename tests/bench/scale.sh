# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Part of tests/bench/run: the rows of many nodes and of several shards, which need no guest. Uses $out, $results, $rounds and its functions.

SHARD_PAGES=8192
LOOP_DELAY_US=200

# value FILE NAME KEY: of the line in FILE that begins with NAME
value()
{
	awk -v start="$2 " -v key="$3=" 'index($0, start) == 1 {
		for (i = 1; i <= NF; i++) if (index($i, key) == 1) { print substr($i, length(key) + 1); exit } }' "$1"
}

# The simulator is determined by its seed, so a round is a seed. Of the two who write, the home and another node, the worse ratio.
invalidations_simulated()
{
	local i net copies row
	make -C "$ROOT" -s B="$BUILD" "$BUILD/tests/sim/sim" >>"$out/log" 2>&1 || fail "cannot build the simulator, see $out/log" 1
	for ((i = 1; i <= rounds; i++)); do
		for net in tcp rdma; do
			for copies in 8 63; do
				row=invalidate-$([ $copies = 8 ] && echo 8 || echo 64)$([ $net = tcp ] || echo "-$net")
				"$BUILD/tests/sim/sim" --net $net --seed "$i" --invalidate $copies >"$out/ours" 2>"$out/err" ||
					trouble "the simulator: $(tail -n 1 "$out/err")"
				awk -v row="$row" '{ for (i = 2; i <= NF; i++) { split($i, p, "="); v[p[1]] = p[2] } }
					v["ratio"] > worst { worst = v["ratio"]; us = v["us"]; one = v["one"] }
					END { if (us) print "ROW", row, "us", us, one }' "$out/ours" >>"$results"
			done
		done
	done
}

invalidations_looped()
{
	local i delay row
	build invalidate "$BUILD/libpangea.a" "${libs[@]}"
	for ((i = 1; i <= rounds; i++)); do
		for delay in 0 $LOOP_DELAY_US; do
			progress "invalidations with real threads, round $i of $rounds"
			row=invalidate-8-loop$([ $delay != 0 ] || echo -0)
			timeout -k 2 60 "$out/invalidate" 8 200 $delay 50 >"$out/ours" 2>"$out/err" || trouble "invalidate: $(tail -n 1 "$out/err")"
			echo "ROW $row us $(value "$out/ours" invalidate-loop us) $(value "$out/ours" invalidate-loop one)" | awk 'NF == 5' >>"$results"
		done
	done
	progress_end
}

# What each optimisation is worth that can be left out: with it, without it.
gains()
{
	local i name
	build gains "$BUILD/libpangea.a" "${libs[@]}"
	for ((i = 1; i <= rounds; i++)); do
		progress "with and without each optimisation, round $i of $rounds"
		: >"$out/ours"
		timeout -k 2 120 "$out/gains" 110 >"$out/ours" 2>"$out/err" || trouble "gains: $(tail -n 1 "$out/err")"
		for name in blocks merging ahead runs migration damping; do
			echo "ROW gain-$name ns $(value "$out/ours" "gains $name" with) $(value "$out/ours" "gains $name" without)" | awk 'NF == 5' >>"$results"
		done
	done
	progress_end
}

# gain_simulated NAME PATTERN SIZES...: the same in the simulator: what an access waits.
gain_simulated()
{
	local i name=$1 pattern=$2
	shift 2
	make -C "$ROOT" -s B="$BUILD" "$BUILD/tests/sim/sim" >>"$out/log" 2>&1 || fail "cannot build the simulator, see $out/log" 1
	for ((i = 1; i <= rounds; i++)); do
		: >"$out/ours"
		: >"$out/reference"
		"$BUILD/tests/sim/sim" --seed "$i" --pattern "$pattern" "$@" >"$out/ours" 2>"$out/err" &&
			"$BUILD/tests/sim/sim" --seed "$i" --pattern "$pattern" "$@" --without "$name" >"$out/reference" 2>"$out/err" ||
			trouble "the simulator: $(tail -n 1 "$out/err")"
		awk -v row="gain-$name" -v pattern="$pattern" '$1 == pattern { wait[FILENAME] = $4 * $9 / $3; n++ }
			END { if (n == 2) print "ROW", row, "us", wait[ARGV[1]], wait[ARGV[2]] }' "$out/ours" "$out/reference" >>"$results"
	done
}

# Faults a second with 1, 2, 4 threads and shards; one shard, and as many threads, is the reference.
shards()
{
	local i threads count one ours name
	build shards "$BUILD/libpangea.a" "${libs[@]}"
	for ((i = 1; i <= rounds; i++)); do
		for threads in 1 2 4; do
			progress "faults with $threads threads and 1, 2, 4 shards, round $i of $rounds"
			for count in 1 2 4; do
				: >"$out/ours"
				timeout -k 2 60 "$out/shards" $count $threads $SHARD_PAGES 50 >"$out/ours" 2>"$out/err" || trouble "shards: $(tail -n 1 "$out/err")"
				ours=$(value "$out/ours" shards per_s)
				[ $count != 1 ] || one=$ours
				name=shards-$count$([ $threads = 4 ] || echo "-threads-$threads")
				echo "ROW $name faults/s $ours $one" | awk 'NF == 5' >>"$results"
			done
		done
	done
	progress_end
}

# What a message costs the processor, sent and answered, with 1, 8, 63 peers, through io_uring; through epoll is the reference.
messages_by_engine()
{
	local i peers cpus=()
	[ "$(nproc)" -lt 2 ] || cpus=(1 0)
	build peers "$BUILD/libpangea.a" "${libs[@]}"
	for ((i = 1; i <= rounds; i++)); do
		for peers in 1 8 63; do
			progress "messages to $peers peers, round $i of $rounds"
			timeout -k 2 60 "$out/peers" $peers $((1000 / peers + 10)) "${cpus[@]}" >"$out/ours" 2>"$out/err" ||
				trouble "peers: $(tail -n 1 "$out/err")"
			if grep -q '^peers-uring none' "$out/ours"; then
				echo "INFO the rows message-N-uring need io_uring: $(sed -n 's/^peers-uring none: //p' "$out/ours")" >>"$results"
				skipped+=(peers)
				break 2
			fi
			awk -v peers=$peers '{ for (i = 2; i <= NF; i++) { split($i, p, "="); v[$1, p[1]] = p[2] } }
				function ns(engine) { return v[engine, "send"] + v[engine, "recv"] }
				END { if (ns("peers-uring")) print "ROW message-" peers "-uring ns", ns("peers-uring"), ns("peers-epoll") }' \
				"$out/ours" >>"$results"
		done
	done
	progress_end
}
