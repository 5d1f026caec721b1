/* SPDX-License-Identifier: Apache-2.0
 *
 * Prints docs/configuration.md; run by `make docs`.
 */
#include "common/conf/conf_docs.h"

#include <stdio.h>

int main(void)
{
    struct buf page = BUF_EMPTY;
    conf_docs_append(&page);
    size_t written = fwrite(page.data, 1, page.size, stdout);
    int status = written == page.size && fflush(stdout) == 0 ? 0 : 1;
    buf_release(&page);
    return status;
}
