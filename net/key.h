/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cluster's key: 32 random bytes that every node of a cluster holds and nobody else. In a file as 64 hexadecimal
 * digits and a newline, readable by its owner only; whoever has it can run code on every node (auth.h).
 *
 * Blocking file I/O, no state, any thread. Failures: 0/-errno and a sentence (net.h).
 */
#ifndef NET_KEY_H
#define NET_KEY_H

#include "net/net.h"

#define KEY_BYTES      32
#define KEY_PATH_BYTES 4096

/* Where the key is if nobody says otherwise: $PANGEA_KEY; else the first that exists of ~/.config/pangea/key and
 * /etc/pangea/key; else ~/.config/pangea/key, or /etc/pangea/key if there is no $HOME. path has KEY_PATH_BYTES.
 * -ENAMETOOLONG. Reads the environment: before threads change it. */
CHECKED int key_default_path(char *path);

/* Makes a key and the directory it is in (0700), the file 0600. With force an old file is replaced, at once and whole.
 * -EEXIST without it. */
CHECKED int key_generate(const char *path, bool force, struct net_why *why);

/* Reads a key; the caller wipes it when done. -ENOENT; -EPERM: others than its owner may read or write the file, or it
 * belongs to another user; -EINVAL: not a key file. */
CHECKED int key_load(const char *path, uint8_t key[KEY_BYTES], struct net_why *why);

/* The text of a key file, [text, text+len), into a key. Pure. -EINVAL. */
CHECKED int key_parse(const char *text, size_t len, uint8_t key[KEY_BYTES]);

#endif
