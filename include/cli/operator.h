/*
 * operator.h: the files of the operator's ceremonies.
 *
 *     TRY(operator_root(cli, cli_option(cli, "root"), &root));
 *     TRY(operator_key(cli, cli_option(cli, "enrol-key"), &enrol));
 */
#ifndef CLI_OPERATOR_H
#define CLI_OPERATOR_H

#include "cli/cli.h"
#include "snapshot/root.h"

/* A root document, verified; against --root-hash where one is given. */
CHECKED Err operator_root(Cli *cli, Str path, Root *ret_root);
/* A private Ed25519 key, a JWK in a file of mode 0600. */
CHECKED Err operator_key(Cli *cli, Str path, KeyPair *ret_pair);

#endif
