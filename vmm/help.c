/* SPDX-License-Identifier: Apache-2.0 */
/* The help texts. Each is complete: what the command does, every option with its default, examples, what it exits with. */
#include "vmm/cmdline.h"

static const char overview[] =
	"Usage: pangea COMMAND [OPTION]...\n"
	"\n"
	"Pangea runs one Linux, from a stock kernel, as one SMP machine over several hosts: it has the CPUs and the RAM of all of "
	"them.\n"
	"\n"
	"Commands:\n"
	"  run      start a virtual machine; its console is this terminal\n"
	"  node     let this host take part: wait for a `pangea run` elsewhere to ask for CPUs and RAM\n"
	"  keygen   make the key by which the hosts of a cluster know each other\n"
	"  check    say whether this host can be a node, and what to do if not\n"
	"  stats    show what the nodes that run on this host have done: faults, how long they took, the hottest pages\n"
	"\n"
	"  pangea COMMAND --help     every option of a command, with examples\n"
	"  pangea --version\n"
	"\n"
	"First steps, on one host (as root, or in group kvm):\n"
	"  pangea check\n"
	"  pangea run --node local,cpus=2,mem=512M --node local,cpus=2,mem=512M \\\n"
	"             --kernel /boot/vmlinuz-$(uname -r) --initrd /boot/initrd.img-$(uname -r)\n"
	"\n"
	"With a second host:\n"
	"  host1$ pangea keygen cluster.key         then copy cluster.key to host2, by scp for example\n"
	"  host2$ pangea node --listen 0.0.0.0:7700 --key cluster.key\n"
	"  host1$ pangea run --key cluster.key --node local,cpus=2,mem=512M --node host2:7700,cpus=2,mem=1G \\\n"
	"                    --kernel FILE --initrd FILE\n";

static const char exit_codes[] =
	"\n"
	"Exit code:\n"
	"  0        the guest powered off\n"
	"  1        the command line, the configuration or an input file is wrong\n"
	"  2        this host cannot run it: no KVM, KVM that emulates kernels, too little memory\n"
	"  3        a node could not be reached or did not join\n"
	"  4        a node was lost while the guest ran\n"
	"  5        the guest crashed: a triple fault, or KVM could not go on\n"
	"  6        ended by a signal or by Ctrl-a x\n"
	"  7        the guest rebooted and --no-reboot was given\n"
	"  65-125   the guest wrote N > 0 to port 0xf4 (isa-debug-exit): 64 + N, at most 125; N = 0 gives 0\n";

static const char run[] =
	"Usage: pangea run --node local,cpus=N,mem=SIZE [--node WHERE,cpus=N,mem=SIZE[,mem-budget=SIZE]]... --kernel FILE "
	"[OPTION]...\n"
	"\n"
	"Starts a virtual machine over the nodes given and shows its console. It ends when the guest powers off.\n"
	"On a terminal: Ctrl-a x quits, Ctrl-a h helps, Ctrl-a b sends a break (SysRq), Ctrl-a Ctrl-a is Ctrl-a.\n"
	"\n"
	"The machine:\n"
	"  --node WHERE,cpus=N,mem=SIZE[,mem-budget=SIZE]\n"
	"                         a node; again for each, at most 64. WHERE is `local`, or HOST:PORT of a `pangea node`\n"
	"                         ([ADDRESS]:PORT for IPv6). The first is local: it leads and has the console.\n"
	"                         cpus may be 0 for a node that gives memory only; 1024 at most in all.\n"
	"                         SIZE takes K, M, G or T and is a multiple of 2M; the first node needs 64M.\n"
	"                         mem-budget bounds what the node's process has resident, copies of other nodes' pages\n"
	"                         included; without it nothing does. It is mem and some 40M at least.\n"
	"  --kernel FILE          a bzImage, an ELF vmlinux with a PVH note, or a multiboot kernel\n"
	"  --initrd FILE          its initial RAM disk\n"
	"  --append TEXT          its command line, after what Pangea itself gives: the rate of the TSC, `tsc_early_khz=`, and\n"
	"                         `" CONFIG_GUEST_DEFAULTS "`\n"
	"  --no-guest-defaults    give --append alone\n"
	"  --triple-fault stop|reboot\n"
	"                         when the guest triple-faults: end with exit code 5 (default), or reset as a PC does\n"
	"  --no-reboot            when the guest reboots: end with exit code 7\n"
	"\n"
	"The console:\n"
	"  --serial stdio         this terminal, raw (default)\n"
	"  --serial file:PATH     output to a file, no input\n"
	"  --serial null          no console\n"
	"\n"
	"The nodes:\n"
	"  --key FILE             the cluster's key (see 'pangea keygen --help'); needed for remote nodes only\n"
	"  --bind ADDR            the address on which local nodes wait for remote ones. Default: loopback if all are\n"
	"                         local, otherwise the address from which this host reaches the first remote node\n"
	"  --shards N             threads a node that serve memory of other nodes, 1 (default) to 16\n"
	"  --without NAME,NAME    leave things out, to see what they are worth: replicas, damping, migration, ahead,\n"
	"                         blocks, merging, pushes, delta, runs, clock (see the manual page)\n"
	"  --poll-us N            microseconds that the threads that serve memory poll before they sleep; 0 by default\n"
	"  --transport auto|rdma|tcp|tcp-uring\n"
	"                         how pages and interrupts go between nodes: by RDMA where both ends have a device that reaches\n"
	"                         the other, TCP elsewhere (auto, default); rdma: or not at all; tcp: never by RDMA;\n"
	"                         tcp-uring: the same, pages through io_uring where the kernel has it\n"
	"  --ready-timeout SEC    how long all nodes may take to join, 30 by default\n"
	"\n"
	"Output:\n"
	"  --stats                print at the end what moved between the nodes\n"
	"  --stats-json FILE      write the same to a file\n"
	"  --symbols FILE         name the hottest pages from the guest kernel's System.map or /proc/kallsyms; by default from\n"
	"                         the tables that a Linux guest has in its memory\n"
	"  --quiet                nothing but the console, warnings and errors\n"
	"\n"
	"  --config FILE          options from a JSON object whose keys are the options above without dashes; the command line\n"
	"                         wins, and its nodes replace the file's\n"
	"  --help\n"
	"\n"
	"Examples:\n"
	"  pangea run --node local,cpus=2,mem=512M --node local,cpus=1,mem=512M --kernel vmlinuz --initrd initrd.img\n"
	"  pangea run --key cluster.key --node local,cpus=2,mem=512M --node host2:7700,cpus=1,mem=1G \\\n"
	"             --node '[2001:db8::3]:7700,cpus=0,mem=16G' --kernel vmlinuz --append 'root=/dev/ram0 quiet'\n"
	"  pangea run --config vm.json --quiet, where vm.json holds\n"
	"    { \"node\": [ \"local,cpus=2,mem=512M\", { \"at\": \"host2:7700\", \"cpus\": 1, \"mem\": \"1G\" } ],\n"
	"      \"kernel\": \"vmlinuz\", \"initrd\": \"initrd.img\", \"key\": \"cluster.key\", \"no-reboot\": true }\n";

static const char node[] =
	"Usage: pangea node [OPTION]...\n"
	"\n"
	"Waits for a `pangea run` that asks for CPUs and RAM of this host. It takes work only from one that proves to hold the "
	"same key.\n"
	"\n"
	"  --listen ADDR:PORT     where to wait; 127.0.0.1:7700 by default, so nothing outside this host reaches it unless told.\n"
	"                         0.0.0.0:7700 is every address, [::]:7700 with IPv6, port 0 any free port\n"
	"  --key FILE             the cluster's key (see 'pangea keygen --help')\n"
	"  --once                 serve one machine, then exit\n"
	"  --help\n"
	"\n"
	"For programs that start it:\n"
	"  --ready-fd N           write the port to this file descriptor, in decimal and with a newline, once it is bound\n"
	"  --key-fd N             read the key from this file descriptor\n"
	"\n"
	"Example:\n"
	"  pangea node --listen 0.0.0.0:7700 --key cluster.key\n"
	"\n"
	"Exit code: 0 after --once when the machine ended well, 1 wrong options or a bad key file, 2 this host cannot be a node "
	"(see\n"
	"'pangea check'), 3 the machine did not come to be, 4 it ended because a node was lost (both with --once), 6 ended by a "
	"signal.\n";

static const char keygen[] =
	"Usage: pangea keygen [FILE] [--force]\n"
	"\n"
	"Makes the key by which the hosts of a cluster know each other, readable by its owner only. Copy the file to each host: "
	"who holds\n"
	"it can run machines on all of them.\n"
	"\n"
	"  FILE                   where to; by default the place where `pangea run` and `pangea node` look for it\n"
	"  --force                replace a key that is there\n"
	"  --help\n"
	"\n"
	"Example:\n"
	"  pangea keygen cluster.key && scp cluster.key host2:\n"
	"\n"
	"Exit code: 0 the key is there, 1 it is not.\n";

static const char check[] = "Usage: pangea check [--json]\n"
			    "\n"
			    "Says whether this host can be a node: one line each for KVM, whether it runs guest kernels natively "
			    "and how it walks their page\n"
			    "tables, userfaultfd, memory, limits, RDMA devices and the clock; `ok`, `warn` (works, but less well) "
			    "or `FAIL`, and what to do\n"
			    "about it.\n"
			    "\n"
			    "  --json                 the same for programs: {\"node\": true, \"checks\": [{\"state\", \"what\", "
			    "\"value\", \"remedy\"}, ...]}\n"
			    "  --help\n"
			    "\n"
			    "Exit code: 0 it can be a node, 1 it cannot.\n";

static const char stats[] =
	"Usage: pangea stats [--json] [--watch] [--node N] [--machine ID]\n"
	"\n"
	"Asks each node that runs on this host, as this user, what it has counted since it started: faults by kind, how long they\n"
	"took, what each optimisation saved, messages and bytes, resident memory, and the hottest pages of which it is the home,\n"
	"with the guest's symbols in them.\n"
	"\n"
	"  --json                 for programs: {\"nodes\": [{\"machine\", \"node\", \"pid\", \"seconds\", \"stats\": {...}}, "
	"...]}\n"
	"  --watch                again each second, with rates, until no node is left; with --json a line each time\n"
	"  --node N               only nodes of this number\n"
	"  --machine ID           only nodes of this machine: the 8 digits that are shown\n"
	"  --help\n"
	"\n"
	"Nodes wait for it on a socket in /run/pangea (root) or $XDG_RUNTIME_DIR/pangea; $PANGEA_RUNTIME_DIR is another place.\n"
	"\n"
	"Exit code: 0 a node answered, 1 none runs here that this user may ask.\n";

void help_print(FILE *out, enum command about)
{
	switch (about) {
	case COMMAND_RUN:
		fputs(run, out);
		fputs(exit_codes, out);
		break;
	case COMMAND_NODE:
		fputs(node, out);
		break;
	case COMMAND_KEYGEN:
		fputs(keygen, out);
		break;
	case COMMAND_CHECK:
		fputs(check, out);
		break;
	case COMMAND_STATS:
		fputs(stats, out);
		break;
	default:
		fputs(overview, out);
		break;
	}
}

void version_print(FILE *out)
{
	fputs("pangea " PANGEA_VERSION "\n", out);
}
