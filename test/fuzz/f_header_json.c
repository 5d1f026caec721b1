/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as a JSON header: the property is test/unit/support/header_property.h.
 */
#include "test/unit/support/header_property.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    header_property(CODEC_JSON, slice_of(data, size));
    return 0;
}
