/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line: which command, and its options as plain structs. main() calls cmdline_parse()
 * once, switches on `command`, and frees with cmdline_free().
 *
 *     struct cmdline cl;
 *     if (cmdline_parse(argc, argv, &cl))
 *             return EXIT_USAGE;
 *     switch (cl.command) { case COMMAND_RUN: ... cl.config ...  case COMMAND_HELP: help_print(stdout, cl.help_about); }
 *
 * Only the start of main() may call cmdline_parse: getopt_long keeps its place in globals of libc.
 * Errors: -EINVAL and -ENOMEM, or the errno of the configuration file; one line is logged, and
 * nothing is left to free. Options given twice: the last counts, except --node (each adds one) and
 * --config (refused). What the file says, the command line overrides; its first --node drops the file's nodes.
 */
#ifndef VMM_CMDLINE_H
#define VMM_CMDLINE_H

#include <stdio.h>

#include "vmm/config.h"

#define NODE_DEFAULT_HOST "127.0.0.1" /* an agent takes work only from this host unless told otherwise */
#define NODE_DEFAULT_PORT 7700

enum command {
	COMMAND_NONE, /* as a help topic: the program itself */
	COMMAND_RUN,
	COMMAND_NODE,
	COMMAND_KEYGEN,
	COMMAND_CHECK,
	COMMAND_STATS,
	COMMAND_HELP,
	COMMAND_VERSION,
};

struct node_options {
	struct endpoint listen; /* port 0: any free one */
	char *key_file;         /* NULL: the default place of net/key.h */
	bool once;              /* serve one VM, then exit */
	int ready_fd;           /* internal: the bound port is written there in decimal, with a newline; -1: none */
	int key_fd;             /* internal: the key is read from there instead of a file; -1: none */
};

struct keygen_options {
	char *file; /* NULL: the default place of net/key.h */
	bool force; /* replace a key that is there */
};

struct check_options {
	bool json;
};

struct stats_options {
	bool json, watch;
	node_t node;   /* NODE_NONE: all */
	char *machine; /* NULL: all */
};

struct cmdline {
	enum command command;
	enum command help_about; /* COMMAND_HELP: which command, COMMAND_NONE for the overview */
	struct config config;    /* COMMAND_RUN; valid by config_validate() */
	struct node_options node;
	struct keygen_options keygen;
	struct check_options check;
	struct stats_options stats;
};

/* argv may be reordered, its strings are copied. */
CHECKED int cmdline_parse(int argc, char **argv, struct cmdline *out);
void cmdline_free(struct cmdline *cl);

/* help.c: the complete help of a command (COMMAND_NONE: the overview), and "pangea VERSION". */
void help_print(FILE *out, enum command about);
void version_print(FILE *out);

#endif
