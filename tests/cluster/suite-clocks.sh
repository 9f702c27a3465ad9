#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=dash source=tests/guests/suite-lib.sh
# One clock over two hosts whose counters run at different rates: that of host 2, which runs the agent, is $PPM millionths faster. The guest
# sees one time; told not to correct its clocks, the same machine shows the same guest that time runs back.
. "${SUITE_LIB:-./suite-lib.sh}"

two_hosts
: "${PPM:=200}"
stats=$tmp/stats.json

bounce() { # SEC ROUNDS OPTION...
	local sec=$1 rounds=$2
	shift 2
	linux "$sec" "pangea.run=timebounce,rounds=$rounds,clocksource=tsc,seconds=60" --stats-json "$stats" --key "$key" "$@" \
		--node local,cpus=1,mem=256M --node "$far,cpus=1,mem=192M"
	grep '^timebounce' "$out" | tr -d '\r' | sed 's/^/    /'
	grep -A 9 '"clock"' "$stats" | grep : | tr -d ' \n{' | sed 's/"clock":/\n/g; s/^\n//; s/$/\n/; s/^/    /'
}
# figure KEY: of node 1's clock, a whole number.
figure() {
	sed -n "s/.*\"$1\": \(-*[0-9]*\).*/\1/p" "$stats" | sed -n 2p
}

case_one_time() {
	bounce 600 800
	result timebounce
	expect_code 0
}
case_rate_is_measured() {
	ppm=$(figure rate_ppm)
	if [ "${ppm:-0}" -lt $((PPM - PPM / 4)) ] || [ "$ppm" -gt $((PPM + PPM / 4)) ]; then fail "the other host's rate was measured as $ppm ppm, it is $PPM"; fi
}
case_skew_is_below_the_one_way_latency() {
	bound=$(figure skew_bound_ns) one_way=$(figure one_way_median_ns)
	if [ "${bound:-0}" -eq 0 ] || [ "$bound" -gt "${one_way:-0}" ]; then fail "skew at most $bound ns, one-way latency $one_way ns"; fi
}
# The slower host is node 0: it is the one to be stepped.
case_slower_clock_was_stepped() {
	moved=$(sed -n 's/.*"corrected_ns": \([0-9]*\).*/\1/p' "$stats" | sed -n 1p)
	[ "${moved:-0}" -gt 1000000 ] || fail "node 0's clock was moved by $moved ns"
}
# The check of the check.
case_uncorrected_time_runs_back() {
	bounce 600 400 --without clock # what the clocks part by meanwhile has to be more than the least way of a stamp
	grep -q '^timebounce.*BACKWARDS' "$out" || fail 'without corrections the guest saw nothing wrong'
	grep -q '^RESULT timebounce FAILED' "$out" || fail 'without corrections timebounce did not fail'
}
run_cases "$0"
