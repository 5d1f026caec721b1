/* SPDX-License-Identifier: Apache-2.0
 *
 * docs/configuration.md, written from the option tables. Not linked into the daemons: `make docs`
 * writes the page, and a unit test holds the committed one against it.
 */
#ifndef COMMON_CONF_CONF_DOCS_H
#define COMMON_CONF_CONF_DOCS_H

#include "common/base/buf.h"

/* Append the whole page. */
void conf_docs_append(struct buf *out);

#endif
