# SPDX-License-Identifier: Apache-2.0
# The table of the benchmark and its JSON: awk -v json=FILE -v skipped=" PHASE " -f table.awk ROWS RESULTS WANTED
#   ROWS     name, phase, target or -, what the reference is          RESULTS  `ROW name unit ours reference`, `NOTE text`, `INFO text`
#   WANTED   names, one a line, in the order of the table
# Medians over the rounds; ratio is that of the medians; spread is (max - min) / median of ours. Exit 1 if a number is missing or a NOTE is there.
# mawk, gawk and busybox's awk all do.

function sort_values(v, n,    i, j, t)
{
	for (i = 2; i <= n; i++)
		for (j = i; j > 1 && v[j - 1] > v[j]; j--) {
			t = v[j]
			v[j] = v[j - 1]
			v[j - 1] = t
		}
}

function median(v, n)
{
	return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
}

function text_of(x, unit)
{
	if (unit == "share")
		return sprintf("%.5f", x)
	if (unit == "s")
		return sprintf("%.2f", x)
	return sprintf(x >= 1000 || x == int(x) ? "%.0f" : "%.1f", x)
}

# Whether the ratio reaches a target such as <=1.1
function verdict(target, ratio,    limit)
{
	limit = substr(target, 3) + 0
	if (target ~ /^<=/)
		return ratio <= limit ? " ok" : " no"
	return ratio >= limit ? " ok" : " no"
}

function show(name,    k, r, i, a, b, v, w, ours_text, ref_text, ratio_text, spread_text, target_text, j)
{
	k = count[name] + 0
	r = reference_count[name] + 0
	split("", a)
	split("", b)
	for (i = 1; i <= k; i++)
		a[i] = ours[name, i]
	for (i = 1; i <= r; i++)
		b[i] = reference[name, i]
	sort_values(a, k)
	sort_values(b, r)
	ours_text = ref_text = ratio_text = spread_text = "-"
	target_text = target[name]
	j["ours"] = j["reference"] = j["ratio"] = j["spread"] = "null"
	if (k) {
		v = median(a, k)
		ours_text = text_of(v, unit[name])
		j["ours"] = sprintf("%.6g", v)
		if (v) {
			spread_text = sprintf("%.0f%%", 100 * (a[k] - a[1]) / v)
			j["spread"] = sprintf("%.3f", (a[k] - a[1]) / v)
		}
	}
	if (r) {
		w = median(b, r)
		ref_text = text_of(w, unit[name])
		j["reference"] = sprintf("%.6g", w)
	}
	if (k && r && w) {
		ratio_text = sprintf("%.2f", v / w)
		j["ratio"] = sprintf("%.4f", v / w)
		if (target_text != "-")
			target_text = target_text verdict(target_text, v / w)
	}
	if (!k || (!r && against[name] != "-"))
		missing = 1
	printf "%-26s %-8s %10s %10s %7s %6s %6d  %-9s %s\n", name, (name in unit) ? unit[name] : "-", ours_text, ref_text,
		ratio_text, spread_text, k, target_text, against[name]
	printf "%s  {\"name\": \"%s\", \"unit\": \"%s\", \"ours\": %s, \"reference\": %s, \"ratio\": %s, \"spread\": %s, \"rounds\": %d}",
		(shown++ ? ",\n" : "[\n"), name, unit[name], j["ours"], j["reference"], j["ratio"], j["spread"], k > json
}

FILENAME == ARGV[1] {
	name = $1
	phase[name] = $2
	target[name] = $3
	against[name] = $4
	for (i = 5; i <= NF; i++)
		against[name] = against[name] " " $i
	next
}

FILENAME == ARGV[2] && ($1 == "NOTE" || $1 == "INFO") {
	if ($1 == "NOTE")
		missing = 1
	$1 = ""
	if (!($0 in told))
		note[++notes] = substr($0, 2, 900)
	told[$0] = 1
	next
}

FILENAME == ARGV[2] {
	unit[$2] = $3
	if ($1 != "ROW" || $4 !~ /^[0-9.]+(e[+-]?[0-9]+)?$/)
		next
	ours[$2, ++count[$2]] = $4 + 0
	if ($5 ~ /^[0-9.]+(e[+-]?[0-9]+)?$/)
		reference[$2, ++reference_count[$2]] = $5 + 0
	next
}

!header++ {
	printf "%-26s %-8s %10s %10s %7s %6s %6s  %-9s %s\n", "row", "unit", "ours", "reference", "ratio", "spread", "rounds", "target", "reference"
}
index(skipped, " " phase[$1] " ") == 0 { show($1) }

END {
	print shown ? "\n]" : "[]" > json
	for (i = 1; i <= notes; i++)
		print "note: " note[i]
	exit missing
}
