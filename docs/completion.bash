# SPDX-License-Identifier: Apache-2.0
# Bash completion of pangea: source this file, or install it as /usr/share/bash-completion/completions/pangea.

# The words of "$1" that begin with "$2".
_pangea_words() {
	mapfile -t COMPREPLY < <(compgen -W "$1" -- "$2")
}

_pangea_files() {
	compopt -o filenames 2>/dev/null
	mapfile -t COMPREPLY < <(compgen -f -- "$1")
}

_pangea() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}

	if [[ $COMP_CWORD -eq 1 ]]; then
		_pangea_words 'run node keygen check stats help --help --version' "$cur"
		return
	fi
	case $prev in
	--kernel | --initrd | --config | --key | --stats-json | --symbols)
		_pangea_files "$cur"
		return
		;;
	--serial)
		_pangea_words 'stdio file: null' "$cur"
		[[ ${COMPREPLY[*]} == file: ]] && compopt -o nospace
		return
		;;
	--transport)
		_pangea_words 'auto rdma tcp tcp-uring' "$cur"
		return
		;;
	--triple-fault)
		_pangea_words 'stop reboot' "$cur"
		return
		;;
	--node)
		[[ ${COMP_WORDS[1]} == stats ]] && return
		case $cur in
		*,mem=*,*) _pangea_words "${cur%,*},mem-budget=" "$cur" ;;
		*) _pangea_words 'local,cpus=' "$cur" ;;
		esac
		compopt -o nospace
		return
		;;
	--without)
		_pangea_words 'replicas damping migration ahead blocks merging pushes delta runs relays clock' "$cur"
		return
		;;
	--append | --poll-us | --shards | --bind | --ready-timeout | --listen | --ready-fd | --key-fd | --machine)
		return
		;;
	esac
	case ${COMP_WORDS[1]} in
	run)
		_pangea_words '--node --kernel --initrd --append --config --key --shards --without --poll-us --bind --serial --no-guest-defaults --triple-fault
			--no-reboot --stats --stats-json --symbols --transport --ready-timeout --quiet --help' "$cur"
		;;
	node)
		_pangea_words '--listen --key --once --help' "$cur"
		;;
	keygen)
		if [[ $cur == -* ]]; then _pangea_words '--force --help' "$cur"; else _pangea_files "$cur"; fi
		;;
	check)
		_pangea_words '--json --help' "$cur"
		;;
	stats)
		_pangea_words '--json --watch --node --machine --help' "$cur"
		;;
	help)
		_pangea_words 'run node keygen check stats' "$cur"
		;;
	esac
}

complete -F _pangea pangea
